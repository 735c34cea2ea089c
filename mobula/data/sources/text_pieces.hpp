/// Cuts files of records (lines, CSV) into pieces that hold whole records. Internal to this layer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/data/sources/source.hpp"

namespace arrow {
class Buffer;
}

namespace mobula::data {

class ContentStream;

/// Some whole records of one file; of a compressed one, offsets are those of its content.
struct TextPiece {
  std::shared_ptr<arrow::Buffer> memory;  ///< owns the text; holds kTextPadding more bytes behind it
  std::string_view text;
  std::shared_ptr<const std::string> file;
  std::size_t file_index = 0;
  std::uint64_t offset = 0;  ///< where the text starts in the file
};

constexpr std::size_t kTextPadding = 64;

/// Memory of pieces, used again and again: pages that are warm and mapped make reading a file twice as fast.
/// Thread-safe; buffers may outlive it.
class PieceMemory {
 public:
  PieceMemory();
  /// Returns a buffer of at least `capacity` bytes, not zeroed.
  std::shared_ptr<arrow::Buffer> get(std::size_t capacity);

 private:
  struct Pool;
  class PooledBuffer;
  std::shared_ptr<Pool> pool_;
};

/// Reads files one after the other, front to back. Not thread-safe.
class TextPieces {
 public:
  /// Returns how many leading bytes of a text hold whole records.
  using WholeRecords = std::function<std::size_t(std::string_view)>;

  TextPieces(std::vector<std::string> files, std::size_t piece_bytes, WholeRecords whole_records);
  ~TextPieces();

  /// Reads the next piece into `piece`; false at the end of the last file. Empty files have no pieces. A byte order
  /// mark at a file's start is passed over. Throws Error(not_found), Error(io), and Error(resource) for a record larger
  /// than 1 GiB.
  bool next(TextPiece& piece);
  /// Starts again at the first file, or at another.
  void rewind(std::size_t file_index = 0);

 private:
  void open();

  std::vector<std::string> files_;
  std::size_t piece_bytes_;
  WholeRecords whole_records_;
  std::size_t file_index_ = 0;
  std::unique_ptr<ContentStream> stream_;
  std::uint64_t offset_ = 0;
  std::shared_ptr<const std::string> name_;
  PieceMemory memory_;
  std::string rest_;  ///< the beginning of a record whose end is not read yet
};

/// Reads the bytes [begin, end) of a file as a piece. Thread-safe. Throws Error(corrupt) where the file is shorter.
TextPiece read_text_piece(const std::string& file, std::uint64_t begin, std::uint64_t end);

/// Lists the pieces of files with their rows, as TextPieces cuts them; `count` tells a piece's rows, 0 leaves it out.
std::vector<PiecePlace> text_places(const std::vector<std::string>& files, std::size_t piece_bytes,
                                    const TextPieces::WholeRecords& whole_records,
                                    const std::function<std::uint64_t(TextPiece&)>& count);

/// Returns how many leading bytes of a text are lines with their newline: TextPieces' cut for formats of one row a line.
std::size_t whole_lines(std::string_view text);
/// Counts the lines of a file before byte `offset`, for an error's message.
std::int64_t lines_before(const std::string& file, std::uint64_t offset);

}  // namespace mobula::data
