#include <arrow/array.h>
#include <arrow/io/file.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/utf8.h>
#include <fmt/format.h>
#include <parquet/arrow/reader.h>
#include <parquet/exception.h>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/sources/text_column.hpp"

namespace mobula::data {
namespace {

void check(const arrow::Status& status, const std::filesystem::path& file) {
  if (status.ok()) return;
  if (status.IsIOError() && !std::filesystem::exists(file)) {
    throw Error(ErrorCode::not_found, fmt::format("{}: no such file", file.string()));
  }
  throw Error(ErrorCode::corrupt, fmt::format("{}: not a readable Parquet file: {}", file.string(), status.message()),
              "the file may be truncated or of another format (data.format)");
}

template <class T>
T value(arrow::Result<T> result, const std::filesystem::path& file) {
  check(result.status(), file);
  return std::move(result).ValueUnsafe();
}

template <class ArrayType>
void append_column(const arrow::Array& column, std::int64_t first_row, const std::filesystem::path& file,
                   const TextColumnOptions& options, TextColumn& texts) {
  const auto& strings = static_cast<const ArrayType&>(column);
  for (std::int64_t i = 0; i < strings.length(); ++i) {
    if (strings.IsNull(i)) continue;
    const std::string_view text = strings.GetView(i);
    if (!arrow::util::ValidateUTF8(text)) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: row {}: column '{}' is not valid UTF-8", file.string(),
                                                  first_row + i + 1, options.column));
    }
    texts.bytes.append(text);
    texts.ends.push_back(texts.bytes.size());
    if (texts.bytes.size() > options.max_bytes) {
      throw Error(ErrorCode::resource, fmt::format("{}: column '{}' holds more than {} bytes", file.string(),
                                                   options.column, options.max_bytes));
    }
  }
}

}  // namespace

TextColumn detail::read_parquet_text(const std::filesystem::path& file, const TextColumnOptions& options) {
  arrow::util::InitializeUTF8();
  try {
    auto input = value(arrow::io::ReadableFile::Open(file.string()), file);
    auto reader = value(parquet::arrow::OpenFile(std::move(input), arrow::default_memory_pool()), file);
    std::shared_ptr<arrow::Schema> schema;
    check(reader->GetSchema(&schema), file);
    const auto field = schema->GetFieldByName(options.column);
    if (field == nullptr) {
      throw Error(ErrorCode::not_found, fmt::format("{}: no column '{}'", file.string(), options.column),
                  suggest(options.column, schema->field_names()));
    }
    const auto type = field->type()->id();
    if (type != arrow::Type::STRING && type != arrow::Type::LARGE_STRING) {
      throw Error(ErrorCode::invalid_argument, fmt::format("{}: column '{}' holds {}, not strings", file.string(),
                                                           options.column, field->type()->ToString()));
    }
    // Nested columns before it take several leaves each, so the leaf is found by its path.
    int leaf = -1;
    const auto* leaves = reader->parquet_reader()->metadata()->schema();
    for (int i = 0; i < leaves->num_columns(); ++i) {
      if (leaves->Column(i)->path()->ToDotString() == options.column) leaf = i;
    }
    if (leaf < 0)
      throw Error(ErrorCode::corrupt, fmt::format("{}: column '{}' has no leaf", file.string(), options.column));
    std::vector<int> row_groups(static_cast<std::size_t>(reader->num_row_groups()));
    for (std::size_t i = 0; i < row_groups.size(); ++i) row_groups[i] = static_cast<int>(i);
    auto batches = value(reader->GetRecordBatchReader(row_groups, {leaf}), file);
    TextColumn texts;
    std::int64_t first_row = 0;
    std::shared_ptr<arrow::RecordBatch> batch;
    while (true) {
      check(batches->ReadNext(&batch), file);
      if (batch == nullptr) return texts;
      check(batch->Validate(), file);
      if (type == arrow::Type::STRING) {
        append_column<arrow::StringArray>(*batch->column(0), first_row, file, options, texts);
      } else {
        append_column<arrow::LargeStringArray>(*batch->column(0), first_row, file, options, texts);
      }
      first_row += batch->num_rows();
    }
  } catch (const parquet::ParquetException& error) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: not a readable Parquet file: {}", file.string(), error.what()));
  }
}

}  // namespace mobula::data
