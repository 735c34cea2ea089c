#include <arrow/array/util.h>
#include <arrow/compute/cast.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <mutex>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/sources/delta_log.hpp"
#include "mobula/data/sources/open_source.hpp"

namespace mobula::data {
namespace {

/// Makes the table's columns out of a file's: cast where the type has changed, constant where the path tells the value,
/// null where the file is older than the column.
class DeltaPiece : public Piece {
 public:
  DeltaPiece(std::unique_ptr<Piece> piece, std::shared_ptr<arrow::Schema> schema, std::vector<DeltaColumn> columns,
             DeltaFile file)
      : piece_(std::move(piece)), schema_(std::move(schema)), columns_(std::move(columns)), file_(std::move(file)) {}

  Block read() override {
    Block block = piece_->read();
    if (block.batch == nullptr) return block;
    arrow::ArrayVector arrays;
    for (const DeltaColumn& column : columns_) arrays.push_back(array_of(column, *block.batch));
    block.batch = arrow::RecordBatch::Make(schema_, block.batch->num_rows(), std::move(arrays));
    return block;
  }

 private:
  std::shared_ptr<arrow::Array> array_of(const DeltaColumn& column, const arrow::RecordBatch& batch) const {
    if (column.partition) {
      const auto found = file_.partition_values.find(column.physical_name);
      // An empty string stands for null, save in columns of strings of some writers: the protocol says null.
      if (found == file_.partition_values.end() || !found->second || found->second->empty()) {
        return take(arrow::MakeArrayOfNull(column.type, batch.num_rows()), file_.path);
      }
      return take(arrow::MakeArrayFromScalar(*partition_value(column, *found->second), batch.num_rows()), file_.path);
    }
    const auto array = batch.GetColumnByName(column.physical_name);
    if (array == nullptr) return take(arrow::MakeArrayOfNull(column.type, batch.num_rows()), file_.path);
    if (array->type()->Equals(column.type)) return array;
    return take(arrow::compute::Cast(*array, column.type), fmt::format("{}: column '{}'", file_.path, column.name));
  }
  std::shared_ptr<arrow::Scalar> partition_value(const DeltaColumn& column, const std::string& text) const {
    const std::string what = fmt::format("{}: partition column '{}' = '{}'", file_.path, column.name, text);
    if (column.type->id() != arrow::Type::TIMESTAMP) return take(arrow::Scalar::Parse(column.type, text), what);
    const auto plain = take(arrow::Scalar::Parse(arrow::timestamp(arrow::TimeUnit::MICRO), text), what);
    return std::make_shared<arrow::TimestampScalar>(static_cast<const arrow::TimestampScalar&>(*plain).value,
                                                    column.type);
  }

  std::unique_ptr<Piece> piece_;
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<DeltaColumn> columns_;
  DeltaFile file_;
};

class DeltaSource : public Source {
 public:
  DeltaSource(std::string folder, ReadOptions options)
      : folder_(std::move(folder)), options_(std::move(options)), table_(replay_delta_log(folder_, options_.version)) {
    std::vector<std::string> names;
    for (const DeltaColumn& column : table_.columns) names.push_back(column.name);
    arrow::FieldVector fields;
    for (const int i : pick_columns(names, options_, folder_)) {
      columns_.push_back(table_.columns[static_cast<std::size_t>(i)]);
      fields.push_back(arrow::field(columns_.back().name, columns_.back().type));
    }
    schema_ = arrow::schema(std::move(fields));
  }

  std::shared_ptr<arrow::Schema> schema() override { return schema_; }
  std::unique_ptr<Piece> next() override {
    for (; next_ < table_.files.size(); ++next_, file_.reset()) {
      if (file_ == nullptr) file_ = open_file(next_);
      if (auto piece = file_->next()) {
        return std::make_unique<DeltaPiece>(std::move(piece), schema_, columns_, table_.files[next_]);
      }
    }
    return nullptr;
  }
  std::string describe() const override {
    return fmt::format("delta({}, version {}, {} files)", folder_, table_.version, table_.files.size());
  }
  std::vector<std::string> files() const override {
    std::vector<std::string> paths;
    for (const auto& file : table_.files) paths.push_back(file.path);
    return paths;
  }

  std::vector<PiecePlace> places() override {
    std::vector<PiecePlace> places;
    for (std::size_t i = 0; i < table_.files.size(); ++i) {
      ReadOptions options;
      for (PiecePlace place : open_parquet({table_.files[i].path}, options)->places()) {
        place.file = i;
        places.push_back(place);
      }
    }
    return places;
  }
  std::unique_ptr<Piece> open(const PiecePlace& place) const override {
    PiecePlace in_file = place;
    in_file.file = 0;
    return std::make_unique<DeltaPiece>(opened(place.file)->open(in_file), schema_, columns_, table_.files[place.file]);
  }

 private:
  /// Opens a file of the table.
  std::unique_ptr<Source> open_file(std::size_t index) const {
    const std::string& path = table_.files[index].path;
    ReadOptions options;
    options.piece_bytes = options_.piece_bytes;
    // Only what is asked for, and is there, is read; one column at least counts the rows.
    const auto present = open_parquet({path}, options)->schema();
    for (const DeltaColumn& column : columns_) {
      if (!column.partition && present->GetFieldIndex(column.physical_name) >= 0) {
        options.columns.push_back(column.physical_name);
      }
    }
    if (options.columns.empty() && present->num_fields() > 0) options.columns.push_back(present->field(0)->name());
    return open_parquet({path}, options);
  }
  /// Returns a file that pieces are opened of; the one that was used last stays open.
  std::shared_ptr<Source> opened(std::size_t index) const {
    const std::lock_guard lock(mutex_);
    if (last_ == nullptr || last_index_ != index) {
      last_ = open_file(index);
      last_->schema();
      last_index_ = index;
    }
    return last_;
  }

  std::string folder_;
  ReadOptions options_;
  DeltaTable table_;
  std::vector<DeltaColumn> columns_;
  std::shared_ptr<arrow::Schema> schema_;
  std::size_t next_ = 0;
  std::unique_ptr<Source> file_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<Source> last_;
  mutable std::size_t last_index_ = 0;
};

}  // namespace

std::unique_ptr<Source> open_delta(const std::vector<std::string>& folders, ReadOptions options) {
  if (folders.size() != 1) throw_invalid("delta: one table is read at a time", "join several by union");
  return std::make_unique<DeltaSource>(folders.front(), std::move(options));
}

}  // namespace mobula::data
