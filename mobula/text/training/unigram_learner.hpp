/// Learning a unigram language model (Kudo, 2018): many candidate pieces, expectation and maximization, and pruning of those
/// that the likelihood misses least.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mobula::text {

struct UnigramLearningOptions {
  std::size_t vocab_size = 8000;         ///< pieces wanted; all characters are kept beside
  std::uint64_t min_frequency = 2;       ///< of a candidate
  std::size_t max_characters = 16;       ///< of a candidate
  std::size_t num_candidates = 1000000;  ///< to begin with
  double shrinking_factor = 0.75;        ///< of the pieces that pruning keeps
  int num_sub_iterations = 2;            ///< of expectation and maximization before each pruning
  unsigned threads = 1;
  std::function<void(std::size_t)> progress;  ///< called with the number of pieces left; may be empty
};

/// Returns pieces and their log probabilities, best first; of equal ones in the order of their bytes. `words` (valid UTF-8,
/// no empty ones) and counts in a fixed order give the same result on any number of threads.
std::vector<std::pair<std::string, double>> learn_unigram(
    const std::vector<std::pair<std::string_view, std::uint64_t>>& words, const UnigramLearningOptions& options);

}  // namespace mobula::text
