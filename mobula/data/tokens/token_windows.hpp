/// Samples of a language model: windows of consecutive tokens, in one global order that a seed fixes.
///
/// Sample k is a function of (seed, k) alone: however many workers share a batch, and wherever a run resumes,
/// the k-th sample is the same. The whole state of the order is therefore one number, the next k.
///
///     TokenWindows train(file, 0, file.size() * 9 / 10, context);
///     train.copy_sample(seed, cursor + i, ids, targets);
#pragma once

#include <cstdint>
#include <span>

#include "mobula/data/tokens/token_file.hpp"

namespace mobula::data {

/// Windows over the tokens [begin, end) of a file. Immutable and thread-safe.
class TokenWindows {
 public:
  /// Throws Error(invalid_argument) where the range holds less than one window (`context` + 1 tokens); `what`
  /// names the range in the message ("training split").
  TokenWindows(TokenFile file, std::size_t begin, std::size_t end, std::size_t context, std::string_view what);

  std::size_t context() const noexcept { return context_; }
  std::size_t num_tokens() const noexcept { return end_ - begin_; }

  /// Returns the number of samples in an epoch. An epoch visits windows that don't overlap, each once, in
  /// random order; where the windows begin shifts at random from epoch to epoch.
  std::uint64_t samples_per_epoch() const noexcept { return samples_per_epoch_; }
  /// Returns the position in the range at which sample `index` of `seed` begins.
  std::uint64_t sample_begin(std::uint64_t seed, std::uint64_t index) const;
  /// Copies sample `index` of `seed`: `ids` and, one token later, `targets`, both of context() numbers.
  void copy_sample(std::uint64_t seed, std::uint64_t index, std::span<std::int64_t> ids,
                   std::span<std::int64_t> targets) const;

  /// Returns the number of windows that cover the range in order, each token but the first a target exactly
  /// once.
  std::uint64_t num_ordered() const noexcept;
  /// Returns the number of targets of ordered window `index`: context(), fewer for the last.
  std::size_t ordered_length(std::uint64_t index) const;
  /// Copies ordered window `index` into spans of ordered_length(index) numbers.
  void copy_ordered(std::uint64_t index, std::span<std::int64_t> ids, std::span<std::int64_t> targets) const;

 private:
  TokenFile file_;
  std::size_t begin_;
  std::size_t end_;
  std::size_t context_;
  std::uint64_t samples_per_epoch_;
};

/// Returns where `index` goes under a random permutation of [0, size) that `key` and `stream` choose, in
/// constant time and memory: a Feistel network of Philox rounds over the next power of four, walked until it
/// lands inside (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
std::uint64_t permute(std::uint64_t index, std::uint64_t size, std::uint64_t key, std::uint64_t stream);

}  // namespace mobula::data
