#include <archive.h>
#include <archive_entry.h>
#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/data/sinks/content_file.hpp"
#include "mobula/data/sinks/format_writer.hpp"
#include "mobula/data/sinks/value_text.hpp"

namespace mobula::data {
namespace {

constexpr const char* kKey = "__key__";

/// Writes each row as the members KEY.COLUMN of a tar file, in WebDataset's manner.
class TarFileWriter : public FileWriter {
 public:
  TarFileWriter(const std::string& path, std::shared_ptr<arrow::Schema>, const WriteOptions& options)
      : file_(path, options), archive_(archive_write_new(), &archive_write_free) {
    archive_write_set_format_pax_restricted(archive_.get());
    archive_write_set_bytes_per_block(archive_.get(), 0);
    check(archive_write_open(archive_.get(), this, nullptr, &TarFileWriter::append, nullptr));
  }

  void write(const PreparedRows& rows) override {
    const auto& batch = *rows.block.batch;
    std::vector<std::unique_ptr<ValueText>> texts;
    for (int i = 0; i < batch.num_columns(); ++i) {
      const bool raw = batch.column(i)->type_id() == arrow::Type::STRING ||
                       batch.column(i)->type_id() == arrow::Type::BINARY || batch.column_name(i) == kKey;
      texts.push_back(raw ? nullptr : make_value_text(*batch.column(i), batch.column_name(i), {TextStyle::json}));
    }
    const auto keys = batch.GetColumnByName(kKey);
    std::string content;
    for (std::int64_t row = 0; row < batch.num_rows(); ++row, ++num_rows_) {
      const std::string key = keys == nullptr ? fmt::format("{:09}", num_rows_) : key_of(*keys, row);
      for (int i = 0; i < batch.num_columns(); ++i) {
        const auto& column = *batch.column(i);
        if (batch.column_name(i) == kKey || column.IsNull(row)) continue;
        if (texts[static_cast<std::size_t>(i)] == nullptr) {
          add(key, batch.column_name(i), static_cast<const arrow::BinaryArray&>(column).GetView(row));
        } else {
          content.clear();
          texts[static_cast<std::size_t>(i)]->append(row, content);
          add(key, batch.column_name(i), content);
        }
      }
    }
  }
  std::int64_t size() const override { return file_.size(); }
  void commit() override {
    check(archive_write_close(archive_.get()));
    file_.commit();
  }

 private:
  static la_ssize_t append(archive* archive, void* self, const void* data, std::size_t size) {
    auto* writer = static_cast<TarFileWriter*>(self);
    try {
      writer->file_.append({static_cast<const char*>(data), size});
    } catch (...) {
      // C code calls this: the exception waits for it to return.
      writer->failure_ = std::current_exception();
      archive_set_error(archive, EIO, "can't be written");
      return -1;
    }
    return static_cast<la_ssize_t>(size);
  }
  void check(int result) {
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    if (result >= ARCHIVE_WARN) return;
    throw Error(ErrorCode::io, fmt::format("{}: {}", file_.path(), archive_error_string(archive_.get())));
  }
  std::string key_of(const arrow::Array& keys, std::int64_t row) const {
    if (keys.IsNull(row)) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("{}: row {}: {} is null", file_.path(), num_rows_ + 1, kKey));
    }
    const std::string_view key = static_cast<const arrow::StringArray&>(keys).GetView(row);
    const std::size_t base = key.rfind('/') == std::string_view::npos ? 0 : key.rfind('/') + 1;
    if (key.size() == base || key.find('.', base) != std::string_view::npos || key.front() == '/' ||
        key.find("..") != std::string_view::npos) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("{}: row {}: the key '{}' can't name members", file_.path(), num_rows_ + 1, key),
                  "a key is a relative path whose last part holds no dot");
    }
    return std::string(key);
  }
  void add(const std::string& key, const std::string& extension, std::string_view content) {
    const std::unique_ptr<archive_entry, void (*)(archive_entry*)> entry(archive_entry_new(), &archive_entry_free);
    archive_entry_set_pathname(entry.get(), fmt::format("{}.{}", key, extension).c_str());
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    archive_entry_set_perm(entry.get(), 0644);
    archive_entry_set_mtime(entry.get(), 0, 0);  // the same rows make the same bytes
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
    check(archive_write_header(archive_.get(), entry.get()));
    if (!content.empty() && archive_write_data(archive_.get(), content.data(), content.size()) < 0)
      check(ARCHIVE_FATAL);
  }

  ContentFile file_;
  std::exception_ptr failure_;
  std::unique_ptr<archive, int (*)(archive*)> archive_;
  std::int64_t num_rows_ = 0;
};

class TarFormat : public Format {
 public:
  TarFormat(std::shared_ptr<arrow::Schema> schema, WriteOptions options)
      : schema_(std::move(schema)), options_(std::move(options)), ending_(content_file_ending(options_)) {
    for (const auto& field : schema_->fields()) {
      if (field->name() == kKey) {
        if (field->type()->id() != arrow::Type::STRING) {
          throw Error(ErrorCode::unsupported, fmt::format("tar: the column {} must hold strings", kKey));
        }
        continue;
      }
      if (field->name().empty() || field->name().find('/') != std::string::npos) {
        throw Error(ErrorCode::unsupported, fmt::format("tar: a column can't be named '{}'", field->name()),
                    "columns become the extensions of members: rename it");
      }
      if (field->type()->id() != arrow::Type::BINARY) check_text_type(*field->type(), field->name(), TextStyle::json);
    }
  }
  std::unique_ptr<PreparedRows> prepare(Block block) const override {
    auto rows = std::make_unique<PreparedRows>();
    rows->block = std::move(block);
    return rows;
  }
  std::unique_ptr<FileWriter> open(const std::string& path) const override {
    return std::make_unique<TarFileWriter>(path, schema_, options_);
  }
  std::string extension() const override { return ".tar" + ending_; }

 private:
  std::shared_ptr<arrow::Schema> schema_;
  WriteOptions options_;
  std::string ending_;  ///< of compressed files
};

}  // namespace

std::unique_ptr<Format> make_tar_format(std::shared_ptr<arrow::Schema> schema, const WriteOptions& options) {
  return std::make_unique<TarFormat>(std::move(schema), options);
}

}  // namespace mobula::data
