#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/data/sinks/content_file.hpp"
#include "mobula/data/sinks/format_writer.hpp"
#include "mobula/data/sinks/scalar_text.hpp"
#include "mobula/data/sinks/value_text.hpp"

namespace mobula::data {
namespace {

class TextFileWriter : public FileWriter {
 public:
  TextFileWriter(const std::string& path, const std::string& header, const WriteOptions& options)
      : file_(path, options) {
    file_.append(header);
  }
  void write(const PreparedRows& rows) override { file_.append(rows.text); }
  std::int64_t size() const override { return file_.size(); }
  void commit() override { file_.commit(); }

 private:
  ContentFile file_;
};

/// Formats rows one by one; `row_text` appends one of them.
template <class RowText>
std::unique_ptr<PreparedRows> format_rows(Block block, RowText row_text) {
  auto rows = std::make_unique<PreparedRows>();
  const std::int64_t num_rows = block.batch->num_rows();
  try {
    for (std::int64_t row = 0; row < num_rows; ++row) {
      row_text(row, rows->text);
      if (row == 63) rows->text.reserve(rows->text.size() * static_cast<std::size_t>(num_rows / 60 + 1));
    }
  } catch (const RowError& error) {
    rows->error = error;
  }
  return rows;
}

std::vector<std::unique_ptr<ValueText>> column_texts(const arrow::RecordBatch& batch, const TextRules& rules) {
  std::vector<std::unique_ptr<ValueText>> texts;
  for (int i = 0; i < batch.num_columns(); ++i)
    texts.push_back(make_value_text(*batch.column(i), batch.column_name(i), rules));
  return texts;
}

class CsvFormat : public Format {
 public:
  CsvFormat(const arrow::Schema& schema, const WriteOptions& options)
      : options_(options), ending_(content_file_ending(options)) {
    if (schema.num_fields() == 0) throw Error(ErrorCode::unsupported, "CSV can't hold rows without columns");
    for (const auto& field : schema.fields()) {
      check_text_type(*field->type(), field->name(), TextStyle::csv);
      if (!header_.empty()) header_ += options.delimiter;
      append_csv_string(field->name(), options.delimiter, header_);
    }
    header_ += '\n';
  }

  std::unique_ptr<PreparedRows> prepare(Block block) const override {
    const auto batch = block.batch;
    const auto texts = column_texts(*batch, {TextStyle::csv, options_.delimiter, false});
    return format_rows(std::move(block), [&](std::int64_t row, std::string& out) {
      for (std::size_t i = 0; i < texts.size(); ++i) {
        if (i > 0) out += options_.delimiter;
        if (!batch->column(static_cast<int>(i))->IsNull(row)) texts[i]->append(row, out);
      }
      out += '\n';
    });
  }
  std::unique_ptr<FileWriter> open(const std::string& path) const override {
    return open_text_writer(path, header_, options_);
  }
  std::string extension() const override { return ".csv" + ending_; }

 private:
  WriteOptions options_;
  std::string ending_;  ///< of compressed files
  std::string header_;
};

class JsonlFormat : public Format {
 public:
  JsonlFormat(const arrow::Schema& schema, const WriteOptions& options)
      : options_(options), ending_(content_file_ending(options)) {
    for (const auto& field : schema.fields()) {
      check_text_type(*field->type(), field->name(), TextStyle::json);
      std::string key = keys_.empty() ? "{" : ",";
      append_json_string(field->name(), key);
      keys_.push_back(key + ":");
    }
  }

  std::unique_ptr<PreparedRows> prepare(Block block) const override {
    const auto batch = block.batch;
    const auto texts = column_texts(*batch, {TextStyle::json, ',', options_.nan_as_null});
    return format_rows(std::move(block), [&](std::int64_t row, std::string& out) {
      for (std::size_t i = 0; i < texts.size(); ++i) {
        out += keys_[i];
        if (batch->column(static_cast<int>(i))->IsNull(row)) {
          out += "null";
        } else {
          texts[i]->append(row, out);
        }
      }
      out += texts.empty() ? "{}\n" : "}\n";
    });
  }
  std::unique_ptr<FileWriter> open(const std::string& path) const override {
    return open_text_writer(path, "", options_);
  }
  std::string extension() const override { return ".jsonl" + ending_; }

 private:
  WriteOptions options_;
  std::string ending_;             ///< of compressed files
  std::vector<std::string> keys_;  ///< with the punctuation before and behind each
};

class TextFormat : public Format {
 public:
  TextFormat(const arrow::Schema& schema, const WriteOptions& options)
      : options_(options), ending_(content_file_ending(options)) {
    if (schema.num_fields() != 1 || schema.field(0)->type()->id() != arrow::Type::STRING) {
      throw Error(ErrorCode::unsupported,
                  fmt::format("text files hold one column of strings, not {} columns ({})", schema.num_fields(),
                              fmt::join(schema.field_names(), ", ")),
                  "select the column first, or write another format");
    }
    name_ = schema.field(0)->name();
  }

  std::unique_ptr<PreparedRows> prepare(Block block) const override {
    const auto column = block.batch->column(0);
    const auto& strings = static_cast<const arrow::StringArray&>(*column);
    return format_rows(std::move(block), [&](std::int64_t row, std::string& out) {
      if (strings.IsNull(row))
        throw RowError(row, fmt::format("column '{}' is null, which a text file can't hold", name_),
                       "filter nulls first");
      const std::string_view text = strings.GetView(row);
      if (text.find('\n') != std::string_view::npos) {
        throw RowError(row, fmt::format("column '{}' holds a newline, which ends a row of a text file", name_),
                       "write JSONL instead");
      }
      out += text;
      out += '\n';
    });
  }
  std::unique_ptr<FileWriter> open(const std::string& path) const override {
    return open_text_writer(path, "", options_);
  }
  std::string extension() const override { return ".txt" + ending_; }

 private:
  WriteOptions options_;
  std::string ending_;  ///< of compressed files
  std::string name_;
};

}  // namespace

std::unique_ptr<FileWriter> open_text_writer(const std::string& path, const std::string& header,
                                             const WriteOptions& options) {
  return std::make_unique<TextFileWriter>(path, header, options);
}

std::unique_ptr<Format> make_csv_format(std::shared_ptr<arrow::Schema> schema, const WriteOptions& options) {
  return std::make_unique<CsvFormat>(*schema, options);
}
std::unique_ptr<Format> make_jsonl_format(std::shared_ptr<arrow::Schema> schema, const WriteOptions& options) {
  return std::make_unique<JsonlFormat>(*schema, options);
}
std::unique_ptr<Format> make_text_format(std::shared_ptr<arrow::Schema> schema, const WriteOptions& options) {
  return std::make_unique<TextFormat>(*schema, options);
}

}  // namespace mobula::data
