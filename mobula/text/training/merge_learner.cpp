#include "mobula/text/training/merge_learner.hpp"

#include <algorithm>
#include <queue>
#include <unordered_map>

#include "mobula/text/vocabulary.hpp"

namespace mobula::text {
namespace {

std::uint64_t pair_of(std::uint32_t left, std::uint32_t right) {
  return static_cast<std::uint64_t>(left) << 32 | right;
}

// Open addressing over pairs; no pair is ever removed.
class PairCounts {
 public:
  std::int64_t& operator[](std::uint64_t pair) {
    if ((used_ + 1) * 2 > slots_.size()) grow();
    std::size_t slot = find(pair);
    if (slots_[slot].pair == kFree) {
      slots_[slot] = {pair, 0};
      ++used_;
    }
    return slots_[slot].count;
  }

 private:
  struct Slot {
    std::uint64_t pair;
    std::int64_t count;
  };
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};

  std::size_t find(std::uint64_t pair) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t slot = (pair * 0x9E3779B97F4A7C15U >> 20) & mask;
    while (slots_[slot].pair != kFree && slots_[slot].pair != pair) slot = (slot + 1) & mask;
    return slot;
  }
  void grow() {
    std::vector<Slot> old(std::max<std::size_t>(slots_.size() * 2, 1 << 14), Slot{kFree, 0});
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.pair != kFree) slots_[find(slot.pair)] = slot;
    }
  }

  std::vector<Slot> slots_;
  std::size_t used_ = 0;
};

struct Candidate {
  std::int64_t count;
  std::uint64_t pair;
  std::vector<std::uint32_t> words;  // where it stood when it was made
  // The most frequent pair comes first, of equal ones that of the smaller ids.
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

}  // namespace

LearnedMerges learn_merges(MergeInput input, const MergeOptions& options) {
  LearnedMerges learned;
  std::vector<std::string>& tokens = learned.tokens;
  tokens = std::move(input.tokens);
  Vocabulary ids;  // spelling to id
  for (std::size_t i = 0; i < tokens.size(); ++i) ids.add(tokens[i], static_cast<TokenId>(i));
  // Merging shortens a word in place.
  std::vector<std::uint32_t>& symbols = input.symbols;
  const std::vector<std::uint32_t>& begin = input.begin;
  const std::size_t num_words = input.counts.size();
  std::vector<std::uint32_t> length(num_words);
  for (std::size_t w = 0; w < num_words; ++w) length[w] = begin[w + 1] - begin[w];

  PairCounts counts;
  std::unordered_map<std::uint64_t, std::vector<std::uint32_t>> places;
  const auto note = [&places](std::uint64_t pair, std::uint32_t word) {
    auto& list = places[pair];
    if (list.empty() || list.back() != word) list.push_back(word);
  };
  for (std::uint32_t w = 0; w < num_words; ++w) {
    for (std::uint32_t i = begin[w]; i + 1 < begin[w] + length[w]; ++i) {
      const std::uint64_t pair = pair_of(symbols[i], symbols[i + 1]);
      counts[pair] += input.counts[w];
      note(pair, w);
    }
  }
  std::priority_queue<Candidate> queue;
  const auto enqueue = [&] {
    for (auto& [pair, list] : places) {
      const std::int64_t count = counts[pair];
      if (count > 0) queue.push({count, pair, std::move(list)});
    }
    places.clear();
  };
  enqueue();

  while (tokens.size() < options.vocab_size && !queue.empty()) {
    Candidate best = std::move(const_cast<Candidate&>(queue.top()));
    queue.pop();
    const std::int64_t now = counts[best.pair];
    if (best.count != now) {
      best.count = now;
      queue.push(std::move(best));
      continue;
    }
    if (best.count < 1 || static_cast<std::uint64_t>(best.count) < options.min_frequency) break;
    const auto left = static_cast<std::uint32_t>(best.pair >> 32);
    const auto right = static_cast<std::uint32_t>(best.pair);
    learned.merges.emplace_back(left, right);
    if (options.progress && learned.merges.size() % 256 == 0) options.progress(tokens.size());
    const std::string merged = tokens[left] + tokens[right].substr(options.prefix);
    TokenId id = ids.find(merged);
    if (id < 0) {
      id = static_cast<TokenId>(tokens.size());
      ids.add(merged, id);
      tokens.push_back(merged);
    }
    const auto fresh = static_cast<std::uint32_t>(id);
    for (const std::uint32_t w : best.words) {
      std::uint32_t* word = symbols.data() + begin[w];
      const std::int64_t count = input.counts[w];
      std::uint32_t kept = 0;
      for (std::uint32_t i = 0; i < length[w]; ++i) {
        if (i + 1 >= length[w] || word[i] != left || word[i + 1] != right) {
          word[kept++] = word[i];
          continue;
        }
        if (kept > 0) {
          counts[pair_of(word[kept - 1], left)] -= count;
          counts[pair_of(word[kept - 1], fresh)] += count;
          note(pair_of(word[kept - 1], fresh), w);
        }
        if (i + 2 < length[w]) {
          counts[pair_of(right, word[i + 2])] -= count;
          counts[pair_of(fresh, word[i + 2])] += count;
          note(pair_of(fresh, word[i + 2]), w);
        }
        word[kept++] = fresh;
        ++i;
      }
      length[w] = kept;
    }
    enqueue();
  }
  return learned;
}

}  // namespace mobula::text
