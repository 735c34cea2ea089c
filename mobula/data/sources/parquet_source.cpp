#include <arrow/io/interfaces.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/schema.h>
#include <parquet/exception.h>
#include <parquet/file_reader.h>
#include <parquet/properties.h>

#include <algorithm>
#include <optional>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/plain_types.hpp"
#include "mobula/data/sources/open_source.hpp"
#include "mobula/data/sources/row_group_filter.hpp"
#include "mobula/data/storage/remote_path.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace {

/// Row groups larger than this are decoded bit by bit by one thread, so that a few of them don't fill the memory.
constexpr std::int64_t kLargeRowGroup = std::int64_t{24} << 20;

/// Calls `body`; whatever a damaged file makes Parquet throw becomes an Error that names the file.
template <class Body>
auto guarded(const std::string& file, Body body) {
  try {
    return body();
  } catch (const Error&) {
    throw;
  } catch (const parquet::ParquetStatusException& error) {
    rethrow_carried(error.status());
    throw_status(error.status(), fmt::format("{}: not a readable Parquet file", file));
  } catch (const std::exception& error) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: not a readable Parquet file: {}", file, error.what()),
                "the file may be truncated or of another format");
  }
}

std::string what(const std::string& file) {
  return fmt::format("{}: not a readable Parquet file", file);
}

/// One open file.
struct ParquetFile {
  std::shared_ptr<const std::string> name;
  std::shared_ptr<arrow::io::RandomAccessFile> input;
  std::shared_ptr<parquet::FileMetaData> metadata;
};

std::shared_ptr<ParquetFile> open_file(const std::string& name) {
  auto file = std::make_shared<ParquetFile>();
  file->name = std::make_shared<const std::string>(name);
  guarded(name, [&] {
    file->input = open_stored(name, "a Parquet file");
    file->metadata = parquet::ReadMetaData(file->input);
  });
  return file;
}

std::unique_ptr<parquet::arrow::FileReader> make_reader(const ParquetFile& file, std::int64_t rows_per_batch) {
  parquet::ReaderProperties properties;
  parquet::ArrowReaderProperties arrow_properties(false);
  // From afar, the row group's columns come in few large requests; a local file is read in small steps, as it is decoded.
  const bool remote = is_remote(*file.name);
  arrow_properties.set_pre_buffer(remote);
  if (!remote) {
    properties.enable_buffered_stream();
    properties.set_buffer_size(1 << 18);
  }
  arrow_properties.set_batch_size(rows_per_batch);
  auto reader = parquet::ParquetFileReader::Open(file.input, properties, file.metadata);
  return take(parquet::arrow::FileReader::Make(arrow::default_memory_pool(), std::move(reader), arrow_properties),
              what(*file.name));
}

/// What every piece shares.
struct ParquetLayout {
  std::shared_ptr<arrow::Schema> schema;
  std::vector<std::string> columns;  ///< read, in order
};

/// Decodes one row group, batch by batch.
class RowGroupReader {
 public:
  RowGroupReader(std::shared_ptr<ParquetFile> file, std::shared_ptr<const ParquetLayout> layout, int row_group,
                 std::int64_t first_row, std::size_t batch_bytes)
      : file_(std::move(file)),
        layout_(std::move(layout)),
        row_group_(row_group),
        first_row_(first_row),
        batch_bytes_(batch_bytes) {}

  Block read() {
    return guarded(*file_->name, [this]() -> Block {
      if (batches_ == nullptr) open();
      std::shared_ptr<arrow::RecordBatch> batch;
      check(batches_->ReadNext(&batch),
            fmt::format("{}: from row {} on (row group {}): damaged", *file_->name, first_row_ + 1, row_group_ + 1));
      if (batch == nullptr) return {};
      const arrow::Status valid = batch->ValidateFull();
      if (!valid.ok())
        throw_status(valid,
                     fmt::format("{}: rows {} to {}", *file_->name, first_row_ + 1, first_row_ + batch->num_rows()));
      Block block{to_plain(take(batch->SelectColumns(order_), *file_->name), layout_->schema, *file_->name),
                  file_->name};
      block.origin = std::make_shared<NumberedRows>(file_->name);
      block.first_row = first_row_;
      first_row_ += batch->num_rows();
      return block;
    });
  }

 private:
  void open() {
    const auto metadata = file_->metadata->RowGroup(row_group_);
    const std::int64_t bytes_per_row =
        metadata->total_byte_size() / std::max<std::int64_t>(metadata->num_rows(), 1) + 1;
    const std::int64_t rows =
        std::clamp<std::int64_t>(static_cast<std::int64_t>(batch_bytes_) / bytes_per_row, 64, 1 << 17);
    reader_ = make_reader(*file_, rows);
    std::shared_ptr<arrow::Schema> schema;
    check(reader_->GetSchema(&schema), what(*file_->name));
    // Leaves are read in the file's order; a nested column has several.
    std::vector<int> leaves;
    std::vector<int> fields;
    for (const std::string& column : layout_->columns) {
      const int index = schema->GetFieldIndex(column);
      if (index < 0) {
        throw Error(ErrorCode::corrupt,
                    fmt::format("{}: no column '{}', which the files before it have", *file_->name, column),
                    suggest(column, schema->field_names()));
      }
      fields.push_back(index);
    }
    const auto& descriptors = *file_->metadata->schema();
    for (int leaf = 0; leaf < descriptors.num_columns(); ++leaf) {
      const int field = descriptors.group_node()->FieldIndex(*descriptors.GetColumnRoot(leaf));
      if (std::find(fields.begin(), fields.end(), field) != fields.end()) leaves.push_back(leaf);
    }
    std::vector<int> sorted = fields;
    std::sort(sorted.begin(), sorted.end());
    for (const int field : fields) {
      order_.push_back(static_cast<int>(std::find(sorted.begin(), sorted.end(), field) - sorted.begin()));
      const auto& expected = layout_->schema->field(static_cast<int>(order_.size()) - 1)->type();
      if (!plain_type(schema->field(field)->type())->Equals(*expected)) {
        throw Error(ErrorCode::corrupt, fmt::format("{}: column '{}' is {}, and {} in the files before it",
                                                    *file_->name, schema->field(field)->name(),
                                                    schema->field(field)->type()->ToString(), expected->ToString()));
      }
    }
    batches_ = take(reader_->GetRecordBatchReader({row_group_}, leaves), what(*file_->name));
  }

  std::shared_ptr<ParquetFile> file_;
  std::shared_ptr<const ParquetLayout> layout_;
  int row_group_;
  std::int64_t first_row_;
  std::size_t batch_bytes_;
  std::vector<int> order_;
  std::unique_ptr<parquet::arrow::FileReader> reader_;
  std::unique_ptr<arrow::RecordBatchReader> batches_;
};

class RowGroupPiece : public Piece {
 public:
  explicit RowGroupPiece(RowGroupReader reader) : reader_(std::move(reader)) {}
  Block read() override { return reader_.read(); }

 private:
  RowGroupReader reader_;
};

/// A block that was read already.
class ReadyPiece : public Piece {
 public:
  explicit ReadyPiece(Block block) : block_(std::move(block)) {}
  Block read() override { return std::exchange(block_, {}); }

 private:
  Block block_;
};

class ParquetSource : public Source {
 public:
  ParquetSource(std::vector<std::string> files, ReadOptions options)
      : files_(std::move(files)), options_(std::move(options)) {}

  std::shared_ptr<arrow::Schema> schema() override {
    if (layout_ != nullptr) return layout_->schema;
    file_ = open_file(files_.front());
    auto layout = std::make_shared<ParquetLayout>();
    guarded(files_.front(), [&] {
      std::shared_ptr<arrow::Schema> full;
      check(make_reader(*file_, 1)->GetSchema(&full), what(files_.front()));
      const auto plain = plain_schema(*full);
      arrow::FieldVector fields;
      for (const int i : pick_columns(plain->field_names(), options_, files_.front())) {
        const bool of_use =
            !wanted_ || std::find(wanted_->begin(), wanted_->end(), plain->field(i)->name()) != wanted_->end();
        if (of_use) fields.push_back(plain->field(i));
      }
      if (fields.empty())
        fields.push_back(plain->field(pick_columns(plain->field_names(), options_, files_.front()).front()));
      layout->schema = arrow::schema(std::move(fields));
      layout->columns = layout->schema->field_names();
    });
    layout_ = std::move(layout);
    return layout_->schema;
  }

  std::unique_ptr<Piece> next() override {
    schema();
    while (true) {
      if (large_ != nullptr) {
        Block block = large_->read();
        if (block.batch != nullptr) return std::make_unique<ReadyPiece>(std::move(block));
        large_.reset();
      }
      if (file_ == nullptr) {
        if (file_index_ >= files_.size()) return nullptr;
        file_ = open_file(files_[file_index_]);
      }
      if (row_group_ >= file_->metadata->num_row_groups()) {
        file_.reset();
        ++file_index_;
        row_group_ = 0;
        first_row_ = 0;
        continue;
      }
      const auto metadata = file_->metadata->RowGroup(row_group_);
      ++num_row_groups_;
      const bool of_use = guarded(*file_->name, [&] {
        return std::all_of(predicates_.begin(), predicates_.end(),
                           [&](const auto& predicate) { return may_match(*predicate, *metadata); });
      });
      if (!of_use) {
        ++num_skipped_;
        ++row_group_;
        first_row_ += metadata->num_rows();
        continue;
      }
      RowGroupReader reader(file_, layout_, row_group_, first_row_, options_.piece_bytes);
      ++row_group_;
      first_row_ += metadata->num_rows();
      if (metadata->total_byte_size() <= kLargeRowGroup) return std::make_unique<RowGroupPiece>(std::move(reader));
      large_ = std::make_unique<RowGroupReader>(std::move(reader));
    }
  }

  std::string describe() const override { return fmt::format("parquet({} files)", files_.size()); }
  void push_filter(const std::shared_ptr<const Expression>& predicate) override { predicates_.push_back(predicate); }
  void push_columns(const std::vector<std::string>& columns) override {
    if (wanted_ == columns) return;
    wanted_ = columns;
    layout_.reset();  // one whose rows were counted has told its columns already; pieces that were opened keep theirs
  }
  std::string note() const override {
    return num_skipped_ == 0 ? "" : fmt::format("{} of {} row groups skipped", num_skipped_, num_row_groups_);
  }
  std::vector<PiecePlace> places() override {
    std::vector<PiecePlace> places;
    for (std::size_t i = 0; i < files_.size(); ++i) {
      const auto file = open_file(files_[i]);
      std::uint64_t first_row = 0;
      for (int group = 0; group < file->metadata->num_row_groups(); ++group) {
        const auto rows = static_cast<std::uint64_t>(file->metadata->RowGroup(group)->num_rows());
        // What is measured is rows: the first one tells errors where they are.
        if (rows > 0) places.push_back({i, first_row, static_cast<std::uint64_t>(group), rows});
        first_row += rows;
      }
    }
    return places;
  }
  std::unique_ptr<Piece> open(const PiecePlace& place) const override {
    const auto file = open_file(files_[place.file]);
    const auto group = static_cast<int>(place.end);
    if (group >= file->metadata->num_row_groups()) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: row group {} is gone", files_[place.file], group + 1),
                  "the file has changed since it was indexed");
    }
    return std::make_unique<RowGroupPiece>(
        RowGroupReader(file, layout_, group, static_cast<std::int64_t>(place.begin), options_.piece_bytes));
  }
  std::vector<std::string> files() const override { return files_; }

 private:
  std::vector<std::string> files_;
  ReadOptions options_;
  std::vector<std::shared_ptr<const Expression>> predicates_;
  std::optional<std::vector<std::string>> wanted_;
  std::int64_t num_row_groups_ = 0;
  std::int64_t num_skipped_ = 0;
  std::shared_ptr<const ParquetLayout> layout_;
  std::size_t file_index_ = 0;
  std::shared_ptr<ParquetFile> file_;
  int row_group_ = 0;
  std::int64_t first_row_ = 0;
  std::unique_ptr<RowGroupReader> large_;
};

}  // namespace

std::unique_ptr<Source> open_parquet(std::vector<std::string> files, ReadOptions options) {
  return std::make_unique<ParquetSource>(std::move(files), std::move(options));
}

}  // namespace mobula::data
