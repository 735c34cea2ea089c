#include "mobula/data/sources/text_column.hpp"

#include <fmt/format.h>
#include <simdjson.h>

#include <optional>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/row_error.hpp"
#include "mobula/data/sources/byte_scan.hpp"
#include "mobula/data/sources/csv_records.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void throw_row(const fs::path& file, std::int64_t row, const std::string& message,
                            const std::string& hint = {}) {
  throw Error(ErrorCode::corrupt, fmt::format("{}: row {}: {}", file.string(), row + 1, message), hint);
}

void append(TextColumn& texts, std::string_view text) {
  texts.bytes.append(text);
  texts.ends.push_back(texts.bytes.size());
}

TextColumn read_text(const fs::path& file, const TextColumnOptions& options) {
  TextColumn texts;
  texts.bytes = read_file(file, options.max_bytes);
  if (!texts.bytes.empty()) texts.ends.push_back(texts.bytes.size());
  return texts;
}

TextColumn read_csv(const fs::path& file, const TextColumnOptions& options) {
  const std::string content = read_file(file, options.max_bytes);
  std::string_view text = content;
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (text.empty()) throw Error(ErrorCode::corrupt, fmt::format("{}: empty, without even a header", file.string()));
  const CsvDialect dialect;
  CsvRecords records;
  std::int64_t row = -1;
  try {
    const std::size_t header_size = first_csv_record(text, dialect);
    records.scan(text.substr(0, header_size), 0, dialect);
    std::vector<std::string> names;
    for (std::size_t i = 0; i < records.num_columns() && records.num_rows() > 0; ++i) {
      names.push_back(records.field(0, i).value());
    }
    std::size_t column = 0;
    while (column < names.size() && names[column] != options.column) ++column;
    if (column == names.size()) {
      throw Error(ErrorCode::not_found, fmt::format("{}: no column '{}'", file.string(), options.column),
                  suggest(options.column, names));
    }
    text.remove_prefix(header_size);
    row = 0;
    TextColumn texts;
    constexpr std::size_t kPiece = std::size_t{16} << 20;
    std::size_t piece = kPiece;
    while (!text.empty()) {
      std::size_t whole = text.size() <= piece ? text.size() : whole_csv_records(text.substr(0, piece), dialect);
      if (whole == 0) {  // one record is longer than the piece
        piece *= 2;
        continue;
      }
      piece = kPiece;
      records.scan(text.substr(0, whole), names.size(), dialect);
      for (std::size_t i = 0; i < records.num_rows(); ++i) {
        const CsvField field = records.field(i, column);
        if (field.is_null()) continue;
        const std::string value = field.value();
        if (!simdjson::validate_utf8(value)) {
          throw RowError(static_cast<std::int64_t>(i), fmt::format("column '{}' is not valid UTF-8", options.column));
        }
        append(texts, value);
      }
      row += static_cast<std::int64_t>(records.num_rows());
      text.remove_prefix(whole);
    }
    return texts;
  } catch (const RowError& error) {
    if (row < 0) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: header: {}", file.string(), error.message), error.hint);
    }
    throw_row(file, row + error.row, error.message, error.hint);
  }
}

TextColumn read_jsonl(const fs::path& file, const TextColumnOptions& options) {
  std::string content = read_file(file, options.max_bytes);
  const std::size_t size = content.size();
  content.append(simdjson::SIMDJSON_PADDING, '\0');
  simdjson::dom::parser parser;
  TextColumn texts;
  const char* at = content.data();
  const char* const end = at + size;
  for (std::int64_t row = 0; at < end; ++row) {
    const char* const line_end = find_byte(at, end, '\n');
    const std::string_view line(at, static_cast<std::size_t>(line_end - at));
    at = line_end + (line_end < end);
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    simdjson::dom::element value;
    // The next line is this one's padding.
    if (const auto failure = parser.parse(line.data(), line.size(), false).get(value)) {
      throw_row(file, row, fmt::format("not valid JSON: {}", simdjson::error_message(failure)));
    }
    simdjson::dom::object object;
    if (value.get(object) != simdjson::SUCCESS) throw_row(file, row, "not a JSON object", "each line is one object");
    simdjson::dom::element text;
    if (object.at_key(options.column).get(text) != simdjson::SUCCESS) {
      std::vector<std::string> names;
      for (const auto field : object) names.emplace_back(field.key);
      throw Error(ErrorCode::not_found, fmt::format("{}: row {}: no key '{}'", file.string(), row + 1, options.column),
                  suggest(options.column, names));
    }
    if (text.is_null()) continue;
    std::string_view characters;
    if (text.get(characters) != simdjson::SUCCESS) {
      throw_row(file, row, fmt::format("'{}' is not a string", options.column));
    }
    append(texts, characters);
  }
  return texts;
}

}  // namespace

TextColumn read_text_column(const fs::path& file, const TextColumnOptions& options) {
  std::string format = options.format;
  if (format.empty()) {
    const std::string extension = file.extension().string();
    format = extension == ".jsonl" || extension == ".ndjson" ? "jsonl"
             : extension == ".csv"                           ? "csv"
             : extension == ".parquet"                       ? "parquet"
                                                             : "text";
  }
  if (format == "text") return read_text(file, options);
  if (format == "jsonl") return read_jsonl(file, options);
  if (format == "csv") return read_csv(file, options);
  if (format == "parquet") return detail::read_parquet_text(file, options);
  throw_invalid(fmt::format("unknown data format '{}'", format), suggest(format, {"text", "jsonl", "csv", "parquet"}));
}

}  // namespace mobula::data
