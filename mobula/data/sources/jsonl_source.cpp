#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/type_names.hpp"
#include "mobula/data/engine/spill.hpp"
#include "mobula/data/row_error.hpp"
#include "mobula/data/sources/byte_scan.hpp"
#include "mobula/data/sources/json_columns.hpp"
#include "mobula/data/sources/open_source.hpp"
#include "mobula/data/sources/text_pieces.hpp"

namespace mobula::data {
namespace {

constexpr std::size_t kMaxDepth = 64;

/// Calls `use` with each line that isn't blank.
template <class Use>
void for_each_line(const TextPiece& piece, Use use) {
  const char* at = piece.text.data();
  const char* const end = at + piece.text.size();
  while (at < end) {
    const char* const newline = find_byte(at, end, '\n');
    const std::string_view line(at, static_cast<std::size_t>(newline - at));
    at = newline + 1;
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) use(line);
  }
}

/// Reads the objects of lines.
class LineParser {
 public:
  LineParser() {
    if (parser_.allocate(std::size_t{1} << 16, kMaxDepth) != simdjson::SUCCESS) throw std::bad_alloc();
  }
  /// Returns the line's object, until the next call. Throws RowError.
  simdjson::dom::object parse(std::string_view line) {
    simdjson::dom::element value;
    if (const auto failure = parser_.parse(line.data(), line.size(), false).get(value)) {
      throw RowError(
          0, fmt::format("not valid JSON: {}", simdjson::error_message(failure)),
          failure == simdjson::DEPTH_ERROR ? fmt::format("at most {} levels are read", kMaxDepth) : hint_for(line));
    }
    simdjson::dom::object object;
    if (value.get(object) != simdjson::SUCCESS) throw RowError(0, "not a JSON object", hint_for(line));
    return object;
  }

 private:
  static const char* hint_for(std::string_view line) {
    return line[line.find_first_not_of(" \t\r")] == '['
               ? "each line is one JSON object: of a file that is one array, jq -c '.[]' makes such lines"
               : "each line is one JSON object";
  }

  simdjson::dom::parser parser_;
};

/// Calls `use` with the object of each line that isn't blank. Errors name file and row.
template <class Use>
void for_each_object(const TextPiece& piece, Use use) {
  LineParser parser;
  const char* line_begin = piece.text.data();
  try {
    for_each_line(piece, [&](std::string_view line) {
      line_begin = line.data();
      use(parser.parse(line));
    });
  } catch (const RowError& error) {
    const auto offset = piece.offset + static_cast<std::uint64_t>(line_begin - piece.text.data());
    throw Error(ErrorCode::corrupt,
                fmt::format("{}: row {}: {}", *piece.file, lines_before(*piece.file, offset) + 1, error.message),
                error.hint);
  }
}

/// The rows of one piece of text: lines that aren't blank.
class JsonlRows : public RowOrigin {
 public:
  explicit JsonlRows(const TextPiece& piece)
      : file_(piece.file), begin_(piece.offset), end_(piece.offset + piece.text.size()) {}
  std::string describe(std::int64_t row) const override {
    const TextPiece piece = read_text_piece(*file_, begin_, end_);
    std::uint64_t offset = begin_;
    std::int64_t seen = 0;
    for_each_line(piece, [&](std::string_view line) {
      if (seen++ == row) offset = begin_ + static_cast<std::uint64_t>(line.data() - piece.text.data());
    });
    return fmt::format("{}: row {}", *file_, lines_before(*file_, offset) + 1);
  }

 private:
  std::shared_ptr<const std::string> file_;
  std::uint64_t begin_;
  std::uint64_t end_;
};

class JsonlPiece : public Piece {
 public:
  JsonlPiece(TextPiece piece, std::shared_ptr<arrow::Schema> schema, bool ignore_unknown, bool skips_bad_rows)
      : piece_(std::move(piece)),
        schema_(std::move(schema)),
        ignore_unknown_(ignore_unknown),
        skips_bad_rows_(skips_bad_rows) {}

  Block read() override {
    if (done_) return {};
    done_ = true;
    Block block{nullptr, piece_.file, std::make_shared<JsonlRows>(piece_)};
    try {
      JsonColumns columns(schema_, ignore_unknown_);
      for_each_object(piece_, [&columns](simdjson::dom::object object) { columns.append(object); });
      block.batch = columns.finish();
    } catch (const Error&) {
      if (!skips_bad_rows_) throw;
      parse_one_by_one(block);
    }
    return block;
  }

 private:
  /// A piece with a bad row in it: each line for itself, the bad ones left out.
  void parse_one_by_one(Block& block) const {
    LineParser parser;
    std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
    auto rows = std::make_shared<std::vector<std::int64_t>>();
    std::int64_t row = 0;
    for_each_line(piece_, [&](std::string_view line) {
      try {
        JsonColumns columns(schema_, ignore_unknown_);
        columns.append(parser.parse(line));
        batches.push_back(columns.finish());
        rows->push_back(row);
      } catch (const RowError& error) {
        block.unread.push_back({row, row, "jsonl", error.message, std::string(line)});
      }
      ++row;
    });
    block.batch = combine_batches(batches, schema_);
    block.rows = std::move(rows);
  }

  TextPiece piece_;
  std::shared_ptr<arrow::Schema> schema_;
  bool ignore_unknown_;
  bool skips_bad_rows_;
  bool done_ = false;
};

class JsonlSource : public Source {
 public:
  JsonlSource(std::vector<std::string> files, ReadOptions options, bool skips_bad_rows)
      : files_(std::move(files)),
        options_(std::move(options)),
        skips_bad_rows_(skips_bad_rows),
        pieces_(files_, options_.piece_bytes, whole_lines) {}

  std::shared_ptr<arrow::Schema> schema() override {
    if (schema_ == nullptr && options_.infer_all) schema_ = known_;
    if (schema_ == nullptr) infer();
    return schema_;
  }
  std::unique_ptr<Piece> next() override {
    schema();
    TextPiece piece;
    if (!pieces_.next(piece)) return nullptr;
    return std::make_unique<JsonlPiece>(std::move(piece), schema_, !options_.columns.empty(), skips_bad_rows_);
  }
  std::string describe() const override { return fmt::format("jsonl({} files)", files_.size()); }
  std::vector<PiecePlace> places() override {
    return text_places(files_, options_.piece_bytes, whole_lines, [](const TextPiece& piece) {
      std::uint64_t rows = 0;
      for_each_line(piece, [&rows](std::string_view) { ++rows; });
      return rows;
    });
  }
  std::unique_ptr<Piece> open(const PiecePlace& place) const override {
    return std::make_unique<JsonlPiece>(read_text_piece(files_[place.file], place.begin, place.end), schema_,
                                        !options_.columns.empty(), skips_bad_rows_);
  }
  std::vector<std::string> files() const override { return files_; }
  void know_columns(const std::shared_ptr<arrow::Schema>& columns) override { known_ = columns; }

 private:
  void infer() {
    TextPieces pieces(files_, options_.infer_all ? options_.piece_bytes : options_.infer_bytes, whole_lines);
    TextPiece piece;
    JsonTypeGuess guess;
    std::vector<std::pair<std::string, JsonTypeGuess>> columns;
    LineParser parser;
    while (pieces.next(piece)) {
      const auto see = [&](simdjson::dom::object object) {
        std::size_t expected = 0;
        for (const auto member : object) {
          if (expected >= columns.size() || columns[expected].first != member.key) {
            const auto found = std::find_if(columns.begin(), columns.end(),
                                            [&member](const auto& column) { return column.first == member.key; });
            expected = static_cast<std::size_t>(found - columns.begin());
            if (found == columns.end()) columns.emplace_back(std::string(member.key), JsonTypeGuess());
          }
          if (!options_.types.contains(columns[expected].first)) {
            columns[expected].second.see(member.value, columns[expected].first);
          }
          ++expected;
        }
      };
      if (skips_bad_rows_) {
        for_each_line(piece, [&](std::string_view line) {
          try {
            see(parser.parse(line));
          } catch (const RowError&) {
            return;  // noted when it is read
          }
        });
      } else {
        for_each_object(piece, see);
      }
      if (!options_.infer_all) break;
    }
    for (const auto& fixed : options_.types) {  // a column that no row of the window has
      const auto is_it = [&fixed](const auto& column) { return column.first == fixed.first; };
      if (std::none_of(columns.begin(), columns.end(), is_it)) columns.emplace_back(fixed.first, JsonTypeGuess());
    }
    std::vector<std::string> names;
    for (const auto& [name, column] : columns) names.push_back(name);
    arrow::FieldVector fields;
    for (const int i : pick_columns(names, options_, files_.front())) {
      const auto& [name, column] = columns[static_cast<std::size_t>(i)];
      const auto fixed = options_.types.find(name);
      fields.push_back(arrow::field(name, fixed == options_.types.end() ? column.type() : type_of_name(fixed->second)));
    }
    schema_ = arrow::schema(std::move(fields));
  }

  std::vector<std::string> files_;
  ReadOptions options_;
  bool skips_bad_rows_;
  TextPieces pieces_;
  std::shared_ptr<arrow::Schema> schema_;
  std::shared_ptr<arrow::Schema> known_;  ///< columns that another reader has found
};

}  // namespace

std::unique_ptr<Source> open_jsonl(std::vector<std::string> files, ReadOptions options, bool skips_bad_rows) {
  return std::make_unique<JsonlSource>(std::move(files), std::move(options), skips_bad_rows);
}

}  // namespace mobula::data
