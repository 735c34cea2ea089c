/// Words and how often they occur: all that training a vocabulary keeps of its texts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mobula/text/vocabulary.hpp"

namespace mobula::text {

/// Counts words. Memory is bounded: where more than `most_words` different ones came, the rarest half is dropped (and counts
/// of what comes again are too low by at most what was dropped). Not thread-safe.
class WordCounts {
 public:
  explicit WordCounts(std::size_t most_words = std::size_t{1} << 22) : most_words_(most_words) {}

  void add(std::string_view word, std::uint64_t count = 1);
  void add(const WordCounts& other);
  bool empty() const { return counts_.empty(); }
  /// Returns the number of words dropped because there were too many.
  std::size_t num_dropped() const { return num_dropped_; }
  /// Returns words and counts in the order of their bytes; views live as long as this object.
  std::vector<std::pair<std::string_view, std::uint64_t>> sorted() const;

 private:
  void drop_rare();

  std::size_t most_words_;
  std::size_t num_dropped_ = 0;
  Vocabulary index_;
  std::vector<std::uint64_t> counts_;
};

}  // namespace mobula::text
