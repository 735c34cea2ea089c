#include <arrow/array.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/compression.h>
#include <fmt/format.h>
#include <parquet/arrow/writer.h>
#include <parquet/exception.h>
#include <parquet/properties.h>

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/engine/executor.hpp"
#include "mobula/data/formats.hpp"
#include "mobula/data/sinks/format_writer.hpp"
#include "mobula/data/sinks/output_file.hpp"

namespace mobula::data {
namespace {

arrow::Compression::type codec_of(const std::string& name, const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    throw_invalid(fmt::format("unknown compression '{}'", name), suggest(name, known));
  }
  if (name == "none") return arrow::Compression::UNCOMPRESSED;
  if (name == "lz4") return arrow::Compression::LZ4_FRAME;
  return take(arrow::util::Codec::GetCompressionType(name), name);
}

arrow::Compression::type parquet_codec(const WriteOptions& options) {
  return codec_of(options.compression.empty() ? "snappy" : options.compression,
                  {"none", "snappy", "zstd", "gzip", "lz4", "brotli"});
}

/// Tells whether a dictionary pays: whether values repeat among the first ones.
bool values_repeat(const arrow::Array& column) {
  const std::int64_t num_seen = std::min<std::int64_t>(column.length(), 4096);
  if (num_seen < 64) return true;
  std::size_t num_distinct = 0;
  if (column.type_id() == arrow::Type::STRING) {
    std::unordered_set<std::string_view> distinct;
    const auto& strings = static_cast<const arrow::StringArray&>(column);
    for (std::int64_t i = 0; i < num_seen; ++i) distinct.insert(strings.GetView(i));
    num_distinct = distinct.size();
  } else if (column.type_id() == arrow::Type::INT64) {
    std::unordered_set<std::int64_t> distinct;
    const auto& integers = static_cast<const arrow::Int64Array&>(column);
    for (std::int64_t i = 0; i < num_seen; ++i) distinct.insert(integers.Value(i));
    num_distinct = distinct.size();
  } else {
    return column.type_id() != arrow::Type::DOUBLE && column.type_id() != arrow::Type::FLOAT;
  }
  return num_distinct < static_cast<std::size_t>(num_seen) / 2;
}

class ParquetFileWriter : public FileWriter {
 public:
  ParquetFileWriter(const std::string& path, std::shared_ptr<arrow::Schema> schema, const WriteOptions& options)
      : file_(std::make_shared<OutputFile>(path)), schema_(std::move(schema)), options_(options) {}

  void write(const PreparedRows& rows) override {
    const auto& batch = rows.block.batch;
    guarded([&] {
      if (writer_ == nullptr) open(batch.get());
      file_->check(writer_->WriteRecordBatch(*batch));
    });
    held_ += batch_bytes(*batch);
  }
  std::int64_t size() const override { return held_; }
  void commit() override {
    guarded([&] {
      if (writer_ == nullptr) open(nullptr);
      file_->check(writer_->Close());
    });
    file_->commit(options_.durable);
  }

 private:
  template <class Body>
  void guarded(Body body) {
    try {
      body();
    } catch (const parquet::ParquetException& error) {
      file_->check(arrow::Status::OK());
      throw Error(ErrorCode::unsupported, fmt::format("{}: {}", file_->path(), error.what()));
    }
  }

  void open(const arrow::RecordBatch* first) {
    parquet::WriterProperties::Builder properties;
    const auto codec = parquet_codec(options_);
    // Parquet's LZ4 has no frames around its blocks.
    properties.compression(codec == arrow::Compression::LZ4_FRAME ? arrow::Compression::LZ4 : codec);
    properties.max_row_group_length(options_.row_group_rows);
    for (int i = 0; first != nullptr && i < first->num_columns(); ++i) {
      if (!values_repeat(*first->column(i))) properties.disable_dictionary(first->column_name(i));
    }
    parquet::ArrowWriterProperties::Builder arrow_properties;
    arrow_properties.store_schema();
    writer_ = take(parquet::arrow::FileWriter::Open(*schema_, arrow::default_memory_pool(), file_, properties.build(),
                                                    arrow_properties.build()),
                   file_->path());
  }

  std::shared_ptr<OutputFile> file_;
  std::shared_ptr<arrow::Schema> schema_;
  WriteOptions options_;
  std::unique_ptr<parquet::arrow::FileWriter> writer_;
  std::int64_t held_ = 0;
};

class IpcFileWriter : public FileWriter {
 public:
  IpcFileWriter(const std::string& path, const std::shared_ptr<arrow::Schema>& schema, const WriteOptions& options)
      : file_(std::make_shared<OutputFile>(path)), durable_(options.durable) {
    arrow::ipc::IpcWriteOptions write = arrow::ipc::IpcWriteOptions::Defaults();
    write.use_threads = false;
    // Arrow files are mapped into memory by their readers, so they stay uncompressed unless asked for.
    if (!options.compression.empty() && options.compression != "none") {
      write.codec = take(arrow::util::Codec::Create(codec_of(options.compression, {"none", "zstd", "lz4"})), path);
    }
    writer_ = take(arrow::ipc::MakeFileWriter(file_, schema, write), path);
  }
  void write(const PreparedRows& rows) override { file_->check(writer_->WriteRecordBatch(*rows.block.batch)); }
  std::int64_t size() const override { return file_->size(); }
  void commit() override {
    file_->check(writer_->Close());
    file_->commit(durable_);
  }

 private:
  std::shared_ptr<OutputFile> file_;
  bool durable_;
  std::shared_ptr<arrow::ipc::RecordBatchWriter> writer_;
};

/// Formats whose writers take batches as they are.
template <class Writer>
class BatchFormat : public Format {
 public:
  BatchFormat(std::shared_ptr<arrow::Schema> schema, WriteOptions options, std::string extension)
      : schema_(std::move(schema)), options_(std::move(options)), extension_(std::move(extension)) {}

  std::unique_ptr<PreparedRows> prepare(Block block) const override {
    auto rows = std::make_unique<PreparedRows>();
    rows->block = std::move(block);
    return rows;
  }
  std::unique_ptr<FileWriter> open(const std::string& path) const override {
    return std::make_unique<Writer>(path, schema_, options_);
  }
  std::string extension() const override { return extension_; }

 private:
  std::shared_ptr<arrow::Schema> schema_;
  WriteOptions options_;
  std::string extension_;
};

}  // namespace

std::unique_ptr<Format> make_parquet_format(std::shared_ptr<arrow::Schema> schema, const WriteOptions& options) {
  parquet_codec(options);
  return std::make_unique<BatchFormat<ParquetFileWriter>>(std::move(schema), options, ".parquet");
}

std::unique_ptr<Format> make_ipc_format(std::shared_ptr<arrow::Schema> schema, const WriteOptions& options) {
  return std::make_unique<BatchFormat<IpcFileWriter>>(std::move(schema), options, ".arrow");
}

std::unique_ptr<Format> make_format(const std::string& name, std::shared_ptr<arrow::Schema> schema,
                                    const WriteOptions& options) {
  if (name == "csv") return make_csv_format(std::move(schema), options);
  if (name == "jsonl") return make_jsonl_format(std::move(schema), options);
  if (name == "text") return make_text_format(std::move(schema), options);
  if (name == "parquet") return make_parquet_format(std::move(schema), options);
  if (name == "ipc") return make_ipc_format(std::move(schema), options);
  if (name == "tar") return make_tar_format(std::move(schema), options);
  throw_invalid(fmt::format("unknown format '{}'", name), suggest(name, writable_formats()));
}

}  // namespace mobula::data
