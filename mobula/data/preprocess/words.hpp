/// The words of a text, as vectorizers see them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace mobula::data {

/// Finds words: two letters, digits or underscores at least, of any script (`\b\w\w+\b`). Thread-safe.
class WordFinder {
 public:
  WordFinder();
  ~WordFinder();
  /// Calls `use` with each word. The text must be valid UTF-8.
  void for_each(std::string_view text, const std::function<void(std::string_view)>& use) const;

 private:
  struct Pattern;
  std::unique_ptr<Pattern> pattern_;
};

/// Returns MurmurHash3 of 32 bits (Austin Appleby), seed 0.
std::uint32_t murmur3(std::string_view bytes);

}  // namespace mobula::data
