/// Files that are compressed as a whole: texts such as rows.jsonl.gz, and tar files. Internal to this layer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace mobula::data {

/// Returns how a file of this name is compressed: gzip (.gz), bz2 (.bz2), xz (.xz), zstd (.zst), or empty.
std::string compression_of(std::string_view path);
/// Returns the name without the extension that tells its compression.
std::string_view without_compression(std::string_view path);
/// Returns the extension of files compressed so, such as ".gz"; empty for none.
std::string extension_of_compression(std::string_view compression);
/// Returns the names that extension_of_compression() knows, none first.
const std::vector<std::string>& file_compressions();

/// Reads a file's content front to back, decompressed where the file's name says that it is compressed. Not thread-safe.
class ContentStream {
 public:
  /// Throws Error(not_found), Error(corrupt) where the file is not what its name says.
  explicit ContentStream(const std::string& path);
  ContentStream(const ContentStream&) = delete;
  ContentStream& operator=(const ContentStream&) = delete;
  ~ContentStream();
  /// Reads until `size` bytes are there or the content ends; returns how many came. Throws Error(corrupt) for a file that is
  /// damaged or cut short.
  std::size_t read(void* to, std::size_t size);
  /// Passes over what stands before a position, unless that is behind what was read; at most to the content's end.
  void pass_over_to(std::uint64_t position);
  /// Returns how many bytes of the content stand before what is read next.
  std::uint64_t position() const { return position_; }

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::uint64_t position_ = 0;
};

/// Reads the bytes [begin, end) of a file's content into `to`, which has room for them; returns how many there were.
/// Compressed files have no middle to begin at: streams are kept where the last calls left them, so that what is read piece
/// after piece is decompressed once. Pieces out of order cost a start from the front each. Thread-safe.
std::size_t read_content(const std::string& path, std::uint64_t begin, std::uint64_t end, void* to);

/// Compresses bytes as they come. Not thread-safe.
class Compressor {
 public:
  /// `put` takes the compressed bytes. Throws Error(invalid_argument) for an unknown name.
  Compressor(const std::string& compression, std::function<void(std::string_view)> put);
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;
  ~Compressor();
  void append(std::string_view bytes);
  /// Ends the stream. Nothing may be appended afterwards.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mobula::data
