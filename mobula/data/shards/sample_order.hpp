/// One global order of samples for a seed, whatever the number of workers, and a cursor into it that a checkpoint holds.
///
///     SampleOrder order({.num_samples = n, .seed = 7});
///     SampleStream stream(order, {.rank = 1, .world_size = 4, .batch_size = 8});
///     while (...) train(stream.next());                 // indices of samples
///     checkpoint(stream.cursor());                      // one number
///     SampleStream resumed(order, {.rank = 0, .world_size = 2, .batch_size = 8}, cursor);
///
/// The order is a permutation that is computed, not stored: position to sample and back in constant time and memory, so that
/// resuming in the middle of 10^9 samples reads nothing of what was consumed. It is a Feistel network over the smallest
/// power of four that holds the samples, walked until it lands among them (Black and Rogaway, "Ciphers with arbitrary
/// finite domains", 2002), keyed by Philox with seed and epoch.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace mobula::data {

struct SampleOrderOptions {
  std::uint64_t num_samples = 0;
  std::uint64_t seed = 0;
  bool shuffle = true;  ///< false: as they stand
  std::uint64_t window =
      0;  ///< 0: all samples are mixed; else windows of this many are, and the windows' order is, too
};

/// The order of all epochs. A value; thread-safe.
class SampleOrder {
 public:
  /// Throws Error(invalid_argument) for no samples, or 2^62 and more.
  explicit SampleOrder(SampleOrderOptions options);

  std::uint64_t num_samples() const { return options_.num_samples; }
  /// Returns the sample at a global position; positions go on through epochs, each in an order of its own.
  std::uint64_t sample_at(std::uint64_t position) const;

 private:
  std::uint64_t permute(std::uint64_t index, std::uint64_t size, std::uint64_t stream) const;

  SampleOrderOptions options_;
};

struct SampleStreamOptions {
  int rank = 0;
  int world_size = 1;
  std::uint64_t batch_size = 1;  ///< samples of all workers together in a step; a multiple of world_size
};

/// The samples of one worker. Every step, the global order's next batch_size samples are dealt out in equal parts.
class SampleStream {
 public:
  /// Starts at a cursor: the number of samples that all workers together have consumed. Throws Error(invalid_argument) for a
  /// rank outside the world or a batch that does not divide by it.
  SampleStream(SampleOrder order, SampleStreamOptions options, std::uint64_t cursor = 0);

  /// Returns this worker's samples of the next step.
  std::vector<std::uint64_t> next();
  /// Returns the number of samples consumed by all workers after the steps so far: the same on every rank.
  std::uint64_t cursor() const { return cursor_; }
  /// Returns the epoch of the next sample, from 0.
  std::uint64_t epoch() const { return cursor_ / order_.num_samples(); }

 private:
  SampleOrder order_;
  SampleStreamOptions options_;
  std::uint64_t cursor_;
};

}  // namespace mobula::data
