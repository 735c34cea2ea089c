/// Learning merges (Sennrich et al., 2016): the most frequent pair of neighbours becomes a symbol, again and again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace mobula::text {

/// Words as symbols, which are indices into `tokens`.
struct MergeInput {
  std::vector<std::string> tokens;
  std::vector<std::uint32_t> symbols;  ///< of all words, one behind the other
  std::vector<std::uint32_t> begin;    ///< where each word's begin; one more at the end
  std::vector<std::int64_t> counts;    ///< of each word
};

struct MergeOptions {
  std::size_t vocab_size = 0;                 ///< tokens in all
  std::uint64_t min_frequency = 0;            ///< a pair that is rarer isn't merged
  std::size_t prefix = 0;                     ///< so many bytes of the right token are left out of the union ("##")
  std::function<void(std::size_t)> progress;  ///< called with the number of tokens now and then; may be empty
};

/// What was learned: all tokens, those of the input first, and the merges in their order.
struct LearnedMerges {
  std::vector<std::string> tokens;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> merges;
};

/// Learns until the vocabulary is full or pairs run out. Of equally frequent pairs that of the smaller ids comes first, as in
/// Hugging Face's BpeTrainer.
LearnedMerges learn_merges(MergeInput input, const MergeOptions& options);

}  // namespace mobula::text
