#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <filesystem>
#include <unordered_set>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/type_names.hpp"
#include "mobula/data/engine/spill.hpp"
#include "mobula/data/row_error.hpp"
#include "mobula/data/sources/csv_columns.hpp"
#include "mobula/data/sources/open_source.hpp"
#include "mobula/data/sources/text_pieces.hpp"

namespace mobula::data {
namespace {

/// What every piece of the source shares.
struct CsvLayout {
  CsvDialect dialect;
  std::vector<std::string> names;  ///< of all columns in the files
  std::vector<int> picked;         ///< positions of those that are read
  std::shared_ptr<arrow::Schema> schema;
  ReadOptions options;
  bool skips_bad_rows = false;
};

/// Counts the data rows of a file before byte `offset`, for an error's message. Rows may be bad ones.
std::int64_t rows_before(const std::string& file, std::uint64_t offset, const CsvLayout& layout) {
  TextPieces pieces({file}, std::size_t{4} << 20,
                    [&layout](std::string_view text) { return whole_csv_records(text, layout.dialect); });
  TextPiece piece;
  std::int64_t rows = -1;  // the header is a record, too
  while (pieces.next(piece) && piece.offset < offset) {
    std::string_view text = piece.text.substr(0, offset - piece.offset);
    while (!text.empty()) {
      const std::string_view record = text.substr(0, first_csv_record(text, layout.dialect));
      text.remove_prefix(record.size());
      const bool blank = record.find_first_not_of("\r\n") == std::string_view::npos;
      if (!blank || layout.names.size() == 1) ++rows;
    }
  }
  return std::max<std::int64_t>(rows, 0);
}

[[noreturn]] void throw_row(const RowError& error, const std::string& file, std::uint64_t offset,
                            const CsvLayout& layout) {
  throw Error(ErrorCode::corrupt,
              fmt::format("{}: row {}: {}", file, rows_before(file, offset, layout) + error.row + 1, error.message),
              error.hint);
}

/// Finds the row that makes the text invalid UTF-8.
void check_utf8(std::string_view text, const CsvRecords& records) {
  if (simdjson::validate_utf8(text.data(), text.size())) return;
  for (std::size_t row = 0; row < records.num_rows(); ++row) {
    for (std::size_t column = 0; column < records.num_columns(); ++column) {
      const std::string_view raw = records.raw(row, column);
      if (!simdjson::validate_utf8(raw.data(), raw.size())) {
        throw RowError(static_cast<std::int64_t>(row), fmt::format("field {} is not valid UTF-8", column + 1),
                       "convert the file to UTF-8 first, such as with iconv");
      }
    }
  }
}

/// The rows of one piece of text.
class CsvRows : public RowOrigin {
 public:
  CsvRows(std::shared_ptr<const std::string> file, std::uint64_t offset, std::shared_ptr<const CsvLayout> layout)
      : file_(std::move(file)), offset_(offset), layout_(std::move(layout)) {}
  std::string describe(std::int64_t row) const override {
    return fmt::format("{}: row {}", *file_, rows_before(*file_, offset_, *layout_) + row + 1);
  }

 private:
  std::shared_ptr<const std::string> file_;
  std::uint64_t offset_;
  std::shared_ptr<const CsvLayout> layout_;
};

class CsvPiece : public Piece {
 public:
  CsvPiece(TextPiece piece, std::shared_ptr<const CsvLayout> layout)
      : piece_(std::move(piece)), layout_(std::move(layout)) {}

  Block read() override {
    if (done_) return {};
    done_ = true;
    Block block{nullptr, piece_.file, std::make_shared<CsvRows>(piece_.file, piece_.offset, layout_)};
    try {
      block.batch = parse(piece_.text);
    } catch (const RowError& error) {
      if (!layout_->skips_bad_rows) throw_row(error, *piece_.file, piece_.offset, *layout_);
      parse_one_by_one(block);
    }
    piece_.memory.reset();
    return block;
  }

 private:
  std::shared_ptr<arrow::RecordBatch> parse(std::string_view text) const {
    // Kept a thread, so that a piece does not start with growing the lists again.
    thread_local CsvRecords records;
    records.scan(text, layout_->names.size(), layout_->dialect);
    check_utf8(text, records);
    std::vector<std::shared_ptr<arrow::Array>> columns;
    for (std::size_t i = 0; i < layout_->picked.size(); ++i) {
      const auto position = static_cast<std::size_t>(layout_->picked[i]);
      columns.push_back(convert_csv_column(records, position, layout_->names[position],
                                           layout_->schema->field(static_cast<int>(i))->type()));
    }
    return arrow::RecordBatch::Make(layout_->schema, static_cast<std::int64_t>(records.num_rows()), std::move(columns));
  }
  /// A piece with a bad row in it: each record for itself, the bad ones left out.
  void parse_one_by_one(Block& block) const {
    std::string_view text = piece_.text;
    std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
    auto rows = std::make_shared<std::vector<std::int64_t>>();
    std::int64_t row = 0;
    while (!text.empty()) {
      const std::string_view record = text.substr(0, first_csv_record(text, layout_->dialect));
      text.remove_prefix(record.size());
      try {
        auto batch = parse(record);
        if (batch->num_rows() == 0) continue;  // a blank line
        batches.push_back(std::move(batch));
        rows->push_back(row);
      } catch (const RowError& error) {
        const std::string_view line = record.substr(0, record.find_last_not_of("\r\n") + 1);
        block.unread.push_back({row, row, "csv", error.message, std::string(line)});
      }
      ++row;
    }
    block.batch = combine_batches(batches, layout_->schema);
    block.rows = std::move(rows);
  }

  TextPiece piece_;
  std::shared_ptr<const CsvLayout> layout_;
  bool done_ = false;
};

class CsvSource : public Source {
 public:
  CsvSource(std::vector<std::string> files, ReadOptions options, bool skips_bad_rows)
      : files_(std::move(files)),
        layout_(std::make_shared<CsvLayout>()),
        pieces_(files_, options.piece_bytes, [dialect = CsvDialect{options.delimiter}](std::string_view text) {
          return whole_csv_records(text, dialect);
        }) {
    layout_->dialect.delimiter = options.delimiter;
    layout_->options = std::move(options);
    layout_->skips_bad_rows = skips_bad_rows;
  }

  std::shared_ptr<arrow::Schema> schema() override {
    if (layout_->schema == nullptr) infer();
    return layout_->schema;
  }

  std::unique_ptr<Piece> next() override {
    schema();
    TextPiece piece;
    while (pieces_.next(piece)) {
      check_no_file_was_empty(piece.file_index);
      if (piece.file_index != header_seen_of_) {
        header_seen_of_ = piece.file_index;
        take_header(piece);
      }
      if (!piece.text.empty()) return std::make_unique<CsvPiece>(std::move(piece), layout_);
    }
    check_no_file_was_empty(files_.size());
    return nullptr;
  }

  std::string describe() const override { return fmt::format("csv({} files)", files_.size()); }
  std::vector<PiecePlace> places() override {
    schema();
    const auto whole = [this](std::string_view text) { return whole_csv_records(text, layout_->dialect); };
    CsvRecords records;
    auto places = text_places(files_, layout_->options.piece_bytes, whole, [&](TextPiece& piece) -> std::uint64_t {
      check_no_file_was_empty(piece.file_index);
      if (piece.file_index != header_seen_of_) {
        header_seen_of_ = piece.file_index;
        take_header(piece);
      }
      try {
        records.scan(piece.text, layout_->names.size(), layout_->dialect);
      } catch (const RowError& error) {
        if (!layout_->skips_bad_rows) throw_row(error, *piece.file, piece.offset, *layout_);
        return count_one_by_one(piece.text);
      }
      return records.num_rows();
    });
    check_no_file_was_empty(files_.size());
    return places;
  }
  std::unique_ptr<Piece> open(const PiecePlace& place) const override {
    return std::make_unique<CsvPiece>(read_text_piece(files_[place.file], place.begin, place.end), layout_);
  }
  std::vector<std::string> files() const override { return files_; }
  void know_columns(const std::shared_ptr<arrow::Schema>& columns) override { known_ = columns; }

 private:
  /// Files of 0 bytes give no pieces; they lack even a header.
  void check_no_file_was_empty(std::size_t file_index) {
    for (; next_file_ < file_index; ++next_file_) {
      if (next_file_ != header_seen_of_) throw_empty(files_[next_file_]);
    }
  }
  [[noreturn]] static void throw_empty(const std::string& file) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: empty, without even a header", file),
                "a CSV file starts with its columns' names");
  }

  std::vector<std::string> parse_header(std::string_view text, const std::string& file, std::size_t& size) {
    size = first_csv_record(text, layout_->dialect);
    CsvRecords records;
    try {
      records.scan(text.substr(0, size), 0, layout_->dialect);
    } catch (const RowError& error) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: header: {}", file, error.message), error.hint);
    }
    if (!simdjson::validate_utf8(text.data(), size)) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: header: not valid UTF-8", file),
                  "convert the file to UTF-8 first");
    }
    std::vector<std::string> names;
    std::unordered_set<std::string> unique;
    for (std::size_t i = 0; i < records.num_columns() && records.num_rows() > 0; ++i) {
      names.push_back(records.field(0, i).value());
      if (!unique.insert(names.back()).second) {
        throw Error(ErrorCode::corrupt, fmt::format("{}: header: column '{}' appears twice", file, names.back()),
                    "rename one of them");
      }
    }
    if (names.empty()) throw Error(ErrorCode::corrupt, fmt::format("{}: the first line, the header, is blank", file));
    return names;
  }

  void take_header(TextPiece& piece) {
    std::size_t size = 0;
    const auto names = parse_header(piece.text, *piece.file, size);
    if (names != layout_->names) {
      throw Error(ErrorCode::corrupt,
                  fmt::format("{}: header '{}' differs from '{}' in {}", *piece.file, fmt::join(names, ","),
                              fmt::join(layout_->names, ","), files_.front()),
                  "read files of different columns apart");
    }
    piece.text.remove_prefix(size);
    piece.offset += size;
  }

  /// Looks at the header and the first bytes (or all of them), and starts over.
  void infer() {
    const ReadOptions& options = layout_->options;
    TextPieces pieces(files_, options.infer_all ? options.piece_bytes : options.infer_bytes,
                      [this](std::string_view text) { return whole_csv_records(text, layout_->dialect); });
    TextPiece piece;
    if (!pieces.next(piece) || piece.file_index != 0) throw_empty(files_.front());
    std::size_t header_size = 0;
    layout_->names = parse_header(piece.text, *piece.file, header_size);
    for (const auto& [name, type] : options.types) {
      if (std::find(layout_->names.begin(), layout_->names.end(), name) == layout_->names.end()) {
        throw Error(ErrorCode::not_found,
                    fmt::format("{}: --types names column '{}', which is not there", files_.front(), name),
                    suggest(name, layout_->names));
      }
    }
    layout_->picked = pick_columns(layout_->names, options, files_.front());
    if (options.infer_all && known_ != nullptr && known_->field_names() == picked_names()) {
      layout_->schema = known_;
      return;
    }
    std::vector<CsvTypeGuess> guesses(layout_->picked.size());
    CsvRecords records;
    std::size_t file_index = 0;
    do {
      if (piece.file_index != file_index || piece.offset <= 3) {
        file_index = piece.file_index;
        const std::size_t size = first_csv_record(piece.text, layout_->dialect);
        piece.text.remove_prefix(size);
        piece.offset += size;
      }
      try {
        records.scan(piece.text, layout_->names.size(), layout_->dialect);
      } catch (const RowError& error) {
        if (!layout_->skips_bad_rows) throw_row(error, *piece.file, piece.offset, *layout_);
        guess_one_by_one(piece.text, guesses);
        continue;
      }
      for (std::size_t i = 0; i < guesses.size(); ++i) {
        if (options.types.contains(layout_->names[static_cast<std::size_t>(layout_->picked[i])])) continue;
        for (std::size_t row = 0; row < records.num_rows(); ++row) {
          guesses[i].see(records.field(row, static_cast<std::size_t>(layout_->picked[i])));
        }
      }
    } while (options.infer_all && pieces.next(piece));
    std::vector<std::shared_ptr<arrow::Field>> fields;
    for (std::size_t i = 0; i < guesses.size(); ++i) {
      const std::string& name = layout_->names[static_cast<std::size_t>(layout_->picked[i])];
      const auto fixed = options.types.find(name);
      fields.push_back(
          arrow::field(name, fixed == options.types.end() ? guesses[i].type() : type_of_name(fixed->second)));
    }
    layout_->schema = arrow::schema(std::move(fields));
  }

  std::vector<std::string> picked_names() const {
    std::vector<std::string> names;
    for (const int i : layout_->picked) names.push_back(layout_->names[static_cast<std::size_t>(i)]);
    return names;
  }

  /// Counts the records of a piece, those that can't be read among them; blank lines are none.
  std::uint64_t count_one_by_one(std::string_view text) const {
    CsvRecords records;
    std::uint64_t rows = 0;
    while (!text.empty()) {
      const std::string_view record = text.substr(0, first_csv_record(text, layout_->dialect));
      text.remove_prefix(record.size());
      try {
        records.scan(record, layout_->names.size(), layout_->dialect);
        rows += records.num_rows();
      } catch (const RowError&) {
        ++rows;
      }
    }
    return rows;
  }

  /// Looks at the records that can be read, where some can't.
  void guess_one_by_one(std::string_view text, std::vector<CsvTypeGuess>& guesses) const {
    CsvRecords records;
    while (!text.empty()) {
      const std::string_view record = text.substr(0, first_csv_record(text, layout_->dialect));
      text.remove_prefix(record.size());
      try {
        records.scan(record, layout_->names.size(), layout_->dialect);
      } catch (const RowError&) {
        continue;  // noted when it is read
      }
      for (std::size_t i = 0; i < guesses.size() && records.num_rows() > 0; ++i)
        guesses[i].see(records.field(0, static_cast<std::size_t>(layout_->picked[i])));
    }
  }

  std::vector<std::string> files_;
  std::shared_ptr<CsvLayout> layout_;
  std::shared_ptr<arrow::Schema> known_;  ///< columns that another reader has found
  TextPieces pieces_;
  std::size_t header_seen_of_ = static_cast<std::size_t>(-1);
  std::size_t next_file_ = 0;
};

}  // namespace

std::unique_ptr<Source> open_csv(std::vector<std::string> files, ReadOptions options, bool skips_bad_rows) {
  return std::make_unique<CsvSource>(std::move(files), std::move(options), skips_bad_rows);
}

}  // namespace mobula::data
