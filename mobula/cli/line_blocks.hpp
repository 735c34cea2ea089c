/// Files of lines, read block by block.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace mobula::cli {

/// Returns the files themselves, and of folders the .txt and .jsonl files below them, by name. Throws Error(not_found)
/// for what isn't there and for a folder without any.
std::vector<std::filesystem::path> find_text_files(const std::vector<std::string>& inputs);

/// Reads files one behind the other in blocks of some megabytes that end where lines do. Not thread-safe.
class LineBlocks {
 public:
  struct Block {
    std::string text;
    std::string name;  ///< of the file
    std::size_t first_line = 1;
    bool jsonl = false;
  };

  explicit LineBlocks(std::vector<std::filesystem::path> files);
  LineBlocks(const LineBlocks&) = delete;
  LineBlocks& operator=(const LineBlocks&) = delete;
  ~LineBlocks();

  /// Fills `block`; returns false behind the last one. Throws Error(io), and Error(resource) for a line longer than
  /// 256 MB.
  bool next(Block& block);
  /// Returns the bytes of all files, and those read so far.
  std::uint64_t total() const { return total_; }
  std::uint64_t done() const { return done_; }

 private:
  bool open();
  void close();

  std::vector<std::filesystem::path> files_;
  std::size_t at_ = 0;
  int descriptor_ = -1;
  std::string rest_;  ///< begin of a line whose end is in the next block
  std::size_t line_ = 1;
  std::uint64_t total_ = 0;
  std::uint64_t done_ = 0;
};

}  // namespace mobula::cli
