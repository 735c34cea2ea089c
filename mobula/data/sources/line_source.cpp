#include <arrow/array.h>
#include <arrow/array/builder_binary.h>
#include <arrow/array/util.h>
#include <arrow/buffer.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cstring>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/sources/byte_scan.hpp"
#include "mobula/data/sources/open_source.hpp"
#include "mobula/data/sources/text_pieces.hpp"

namespace mobula::data {
namespace {

/// The rows of one piece of text.
class LineRows : public RowOrigin {
 public:
  explicit LineRows(const TextPiece& piece) : file_(piece.file), offset_(piece.offset) {}
  std::string describe(std::int64_t row) const override {
    return fmt::format("{}: row {}", *file_, lines_before(*file_, offset_) + row + 1);
  }

 private:
  std::shared_ptr<const std::string> file_;
  std::uint64_t offset_;
};

class LinePiece : public Piece {
 public:
  LinePiece(TextPiece piece, std::shared_ptr<arrow::Schema> schema, bool skips_bad_rows)
      : piece_(std::move(piece)), schema_(std::move(schema)), skips_bad_rows_(skips_bad_rows) {}

  Block read() override {
    if (done_) return {};
    done_ = true;
    const std::string_view text = piece_.text;
    if (!simdjson::validate_utf8(text.data(), text.size()))
      return skips_bad_rows_ ? read_good_lines() : throw_bad_utf8();
    // The lines move together over the newlines between them; the text's memory is the column's.
    auto* const data = const_cast<char*>(text.data());
    std::shared_ptr<arrow::ResizableBuffer> offsets =
        take(arrow::AllocateResizableBuffer(static_cast<std::int64_t>((text.size() / 16 + 64) * 4)), *piece_.file);
    auto* ends = reinterpret_cast<std::int32_t*>(offsets->mutable_data());
    std::size_t capacity = static_cast<std::size_t>(offsets->size()) / 4;
    std::size_t num_lines = 0;
    char* out = data;
    const char* line = data;
    ends[0] = 0;
    const auto end_line = [&](const char* newline) {
      const auto size = static_cast<std::size_t>(newline - line);
      std::memmove(out, line, size);
      out += size;
      line = newline + 1;
      ends[++num_lines] = static_cast<std::int32_t>(out - data);
    };
    const char* const end = data + text.size();
    const char* at = data;
    while (at < end) {
      if (num_lines + 66 > capacity) {
        capacity *= 2;
        check(offsets->Resize(static_cast<std::int64_t>(capacity * 4), false), *piece_.file);
        ends = reinterpret_cast<std::int32_t*>(offsets->mutable_data());
      }
      // The text has padding behind it, and no newline in it.
      std::uint64_t newlines = match_either(at, '\n', '\n');
      while (newlines != 0) {
        end_line(at + std::countr_zero(newlines));
        newlines &= newlines - 1;
      }
      at += 64;
    }
    if (line < end) end_line(end);
    check(offsets->Resize(static_cast<std::int64_t>((num_lines + 1) * 4), false), *piece_.file);
    const auto first = text.data() - reinterpret_cast<const char*>(piece_.memory->data());
    auto characters = arrow::SliceBuffer(piece_.memory, first, out - data);
    auto column = arrow::MakeArray(arrow::ArrayData::Make(arrow::utf8(), static_cast<std::int64_t>(num_lines),
                                                          {nullptr, std::move(offsets), std::move(characters)}, 0));
    return {arrow::RecordBatch::Make(schema_, static_cast<std::int64_t>(num_lines), {std::move(column)}), piece_.file,
            std::make_shared<LineRows>(piece_)};
  }

 private:
  /// Reads a piece with bad lines in it: each line for itself.
  Block read_good_lines() const {
    Block block{nullptr, piece_.file, std::make_shared<LineRows>(piece_)};
    arrow::StringBuilder lines;
    auto rows = std::make_shared<std::vector<std::int64_t>>();
    const char* line = piece_.text.data();
    const char* const end = line + piece_.text.size();
    for (std::int64_t row = 0; line < end; ++row) {
      const char* const newline = find_byte(line, end, '\n');
      const std::string_view text(line, static_cast<std::size_t>(newline - line));
      if (simdjson::validate_utf8(text.data(), text.size())) {
        check(lines.Append(text), *piece_.file);
        rows->push_back(row);
      } else {
        block.unread.push_back({row, row, "text", "not valid UTF-8", std::string(text)});
      }
      line = newline + 1;
    }
    block.batch = arrow::RecordBatch::Make(schema_, static_cast<std::int64_t>(rows->size()),
                                           {take(lines.Finish(), *piece_.file)});
    block.rows = std::move(rows);
    return block;
  }
  [[noreturn]] Block throw_bad_utf8() const {
    std::int64_t row = lines_before(*piece_.file, piece_.offset);
    const char* line = piece_.text.data();
    const char* const end = line + piece_.text.size();
    while (line < end) {
      const char* const newline = find_byte(line, end, '\n');
      if (!simdjson::validate_utf8(line, static_cast<std::size_t>(newline - line))) break;
      line = newline + 1;
      ++row;
    }
    throw Error(ErrorCode::corrupt, fmt::format("{}: row {}: not valid UTF-8", *piece_.file, row + 1),
                "convert the file to UTF-8 first, such as with iconv");
  }

  TextPiece piece_;
  std::shared_ptr<arrow::Schema> schema_;
  bool skips_bad_rows_;
  bool done_ = false;
};

class LineSource : public Source {
 public:
  LineSource(std::vector<std::string> files, const ReadOptions& options, bool skips_bad_rows)
      : files_(std::move(files)),
        skips_bad_rows_(skips_bad_rows),
        piece_bytes_(options.piece_bytes),
        schema_(arrow::schema({arrow::field("text", arrow::utf8())})),
        pieces_(files_, options.piece_bytes, whole_lines) {}

  std::shared_ptr<arrow::Schema> schema() override { return schema_; }
  std::unique_ptr<Piece> next() override {
    TextPiece piece;
    if (!pieces_.next(piece)) return nullptr;
    return std::make_unique<LinePiece>(std::move(piece), schema_, skips_bad_rows_);
  }
  std::string describe() const override { return fmt::format("text({} files)", files_.size()); }
  std::vector<PiecePlace> places() override {
    return text_places(files_, piece_bytes_, whole_lines, [](const TextPiece& piece) {
      const auto newlines = std::count(piece.text.begin(), piece.text.end(), '\n');
      return static_cast<std::uint64_t>(newlines) + (piece.text.ends_with('\n') ? 0 : 1);
    });
  }
  std::unique_ptr<Piece> open(const PiecePlace& place) const override {
    return std::make_unique<LinePiece>(read_text_piece(files_[place.file], place.begin, place.end), schema_,
                                       skips_bad_rows_);
  }
  std::vector<std::string> files() const override { return files_; }

 private:
  std::vector<std::string> files_;
  bool skips_bad_rows_;
  std::size_t piece_bytes_;
  std::shared_ptr<arrow::Schema> schema_;
  TextPieces pieces_;
};

}  // namespace

std::unique_ptr<Source> open_text(std::vector<std::string> files, ReadOptions options, bool skips_bad_rows) {
  pick_columns({"text"}, options, files.front());
  return std::make_unique<LineSource>(std::move(files), options, skips_bad_rows);
}

}  // namespace mobula::data
