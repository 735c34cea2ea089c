#include "mobula/text/training/word_counts.hpp"

#include <algorithm>

namespace mobula::text {

void WordCounts::add(std::string_view word, std::uint64_t count) {
  const TokenId known = index_.find(word);
  if (known >= 0) {
    counts_[static_cast<std::size_t>(known)] += count;
    return;
  }
  if (counts_.size() >= most_words_) drop_rare();
  index_.add(word, static_cast<TokenId>(counts_.size()));
  counts_.push_back(count);
}

void WordCounts::add(const WordCounts& other) {
  for (const auto& [word, count] : other.sorted()) add(word, count);
  num_dropped_ += other.num_dropped_;
}

std::vector<std::pair<std::string_view, std::uint64_t>> WordCounts::sorted() const {
  std::vector<std::pair<std::string_view, std::uint64_t>> words;
  words.reserve(counts_.size());
  for (std::size_t i = 0; i < counts_.size(); ++i)
    words.emplace_back(*index_.token(static_cast<TokenId>(i)), counts_[i]);
  std::sort(words.begin(), words.end());
  return words;
}

void WordCounts::drop_rare() {
  auto words = sorted();
  std::stable_sort(words.begin(), words.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  const std::size_t keep = most_words_ / 2;
  Vocabulary index;
  std::vector<std::uint64_t> counts;
  for (std::size_t i = 0; i < keep; ++i) {
    index.add(words[i].first, static_cast<TokenId>(i));
    counts.push_back(words[i].second);
  }
  num_dropped_ += words.size() - keep;
  index_ = std::move(index);
  counts_ = std::move(counts);
}

}  // namespace mobula::text
