#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/plain_types.hpp"
#include "mobula/data/sources/open_source.hpp"
#include "mobula/data/storage/remote_path.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace {

class IpcPiece : public Piece {
 public:
  IpcPiece(std::shared_ptr<arrow::RecordBatch> batch, std::shared_ptr<const std::string> file, int index,
           std::shared_ptr<arrow::Schema> schema, std::vector<int> picked)
      : batch_(std::move(batch)),
        file_(std::move(file)),
        index_(index),
        schema_(std::move(schema)),
        picked_(std::move(picked)) {}

  Block read() override {
    if (batch_ == nullptr) return {};
    // Offsets inside a damaged file may point anywhere: nothing is used before it was looked at.
    const std::string what = fmt::format("{}: record batch {}", *file_, index_ + 1);
    check(batch_->ValidateFull(), what);
    Block block{to_plain(take(batch_->SelectColumns(picked_), what), schema_, what), file_};
    batch_.reset();
    return block;
  }

 private:
  std::shared_ptr<arrow::RecordBatch> batch_;
  std::shared_ptr<const std::string> file_;
  int index_;
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<int> picked_;
};

/// Maps a file of record batches; a batch's rows are counted without reading its columns.
std::shared_ptr<arrow::ipc::RecordBatchFileReader> open_mapped(const std::string& file) {
  std::shared_ptr<arrow::io::RandomAccessFile> input;
  if (is_remote(file)) {
    input = open_stored(file);
  } else {
    input = take(arrow::io::MemoryMappedFile::Open(file, arrow::io::FileMode::READ), file);
  }
  std::string magic(6, '\0');
  if (take(input->ReadAt(0, 6, magic.data()), file) != 6 || magic != "ARROW1") {
    throw Error(ErrorCode::unsupported, fmt::format("{}: a stream of record batches can't be read by row number", file),
                "write it as a file of record batches (Feather V2) or as Parquet");
  }
  arrow::ipc::IpcReadOptions options = arrow::ipc::IpcReadOptions::Defaults();
  options.use_threads = false;
  return take(arrow::ipc::RecordBatchFileReader::Open(input, options),
              fmt::format("{}: not a readable Arrow file", file));
}

class IpcSource : public Source {
 public:
  IpcSource(std::vector<std::string> files, ReadOptions options)
      : files_(std::move(files)), options_(std::move(options)) {}

  std::shared_ptr<arrow::Schema> schema() override {
    if (schema_ == nullptr) open();
    return schema_;
  }

  std::unique_ptr<Piece> next() override {
    schema();
    while (true) {
      if (name_ == nullptr) {
        if (file_index_ >= files_.size()) return nullptr;
        open();
      }
      std::shared_ptr<arrow::RecordBatch> batch;
      if (reader_ != nullptr && batch_index_ < reader_->num_record_batches()) {
        batch = take(reader_->ReadRecordBatch(batch_index_), *name_);
      } else if (stream_ != nullptr) {
        check(stream_->ReadNext(&batch), *name_);
      }
      if (batch != nullptr)
        return std::make_unique<IpcPiece>(std::move(batch), name_, batch_index_++, schema_, picked_);
      name_.reset();
      ++file_index_;
    }
  }

  std::string describe() const override { return fmt::format("ipc({} files)", files_.size()); }
  std::vector<PiecePlace> places() override {
    std::vector<PiecePlace> places;
    for (std::size_t i = 0; i < files_.size(); ++i) {
      const auto reader = open_mapped(files_[i]);
      for (int batch = 0; batch < reader->num_record_batches(); ++batch) {
        const auto rows = take(reader->ReadRecordBatch(batch), files_[i])->num_rows();
        if (rows > 0) {
          const auto index = static_cast<std::uint64_t>(batch);
          places.push_back({i, index, index, static_cast<std::uint64_t>(rows)});
        }
      }
    }
    return places;
  }
  std::unique_ptr<Piece> open(const PiecePlace& place) const override {
    const std::string& file = files_[place.file];
    const auto batch = static_cast<int>(place.end);
    const auto reader = open_mapped(file);
    const auto plain = plain_schema(*reader->schema());
    if (batch >= reader->num_record_batches()) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: record batch {} is gone", file, batch + 1),
                  "the file has changed since it was indexed");
    }
    return std::make_unique<IpcPiece>(take(reader->ReadRecordBatch(batch), file),
                                      std::make_shared<const std::string>(file), batch, schema_,
                                      pick_columns(plain->field_names(), options_, file));
  }
  std::vector<std::string> files() const override { return files_; }

 private:
  void open() {
    const std::string& file = files_[file_index_];
    auto input = open_stored(file, "an Arrow file");
    std::string magic(6, '\0');
    const auto got = take(input->ReadAt(0, 6, magic.data()), file);
    check(input->Seek(0), file);
    const bool random_access = got == 6 && magic == "ARROW1";
    reader_.reset();
    stream_.reset();
    const std::string what = fmt::format("{}: not a readable Arrow file", file);
    std::shared_ptr<arrow::Schema> full;
    arrow::ipc::IpcReadOptions options = arrow::ipc::IpcReadOptions::Defaults();
    options.use_threads = false;
    if (random_access) {
      reader_ = take(arrow::ipc::RecordBatchFileReader::Open(input, options), what);
      full = reader_->schema();
    } else {
      stream_ = take(arrow::ipc::RecordBatchStreamReader::Open(input, options), what);
      full = stream_->schema();
    }
    name_ = std::make_shared<const std::string>(file);
    batch_index_ = 0;
    const auto plain = plain_schema(*full);
    picked_ = pick_columns(plain->field_names(), options_, file);
    arrow::FieldVector fields;
    for (const int i : picked_) fields.push_back(plain->field(i));
    auto schema = arrow::schema(std::move(fields));
    if (schema_ != nullptr && !schema_->Equals(*schema)) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: its columns differ from those of {}", file, files_.front()),
                  "read files of different columns apart");
    }
    if (schema_ == nullptr) schema_ = std::move(schema);
  }

  std::vector<std::string> files_;
  ReadOptions options_;
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<int> picked_;
  std::size_t file_index_ = 0;
  std::shared_ptr<const std::string> name_;
  std::shared_ptr<arrow::ipc::RecordBatchFileReader> reader_;
  std::shared_ptr<arrow::RecordBatchReader> stream_;
  int batch_index_ = 0;
};

}  // namespace

std::unique_ptr<Source> open_ipc(std::vector<std::string> files, ReadOptions options) {
  return std::make_unique<IpcSource>(std::move(files), std::move(options));
}

}  // namespace mobula::data
