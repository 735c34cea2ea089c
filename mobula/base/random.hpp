/// Counter-based random numbers (Philox 4x32-10; Salmon et al., "Parallel random numbers: as easy as 1, 2,
/// 3", SC 2011). A value depends only on (seed, stream, position), so streams split reproducibly over workers
/// and a stream is saved and restored as three integers. The same numbers come on every machine.
#pragma once

#include <array>
#include <cstdint>

namespace mobula {

/// Returns the four 32-bit words of Philox 4x32-10 for one counter and key.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) noexcept;

/// One stream of random numbers. Copying copies the position. Not thread-safe; give each thread its own
/// stream. Meets the requirements of a C++ uniform random bit generator.
class Random {
 public:
  using result_type = std::uint64_t;

  /// Starts stream `stream` of `seed`; different streams of one seed never overlap.
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0) noexcept : seed_(seed), stream_(stream) {}

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return ~result_type{0}; }

  /// Returns the next 64 random bits.
  std::uint64_t operator()() noexcept;
  /// Returns a double in [0, 1) with 53 random bits.
  double uniform() noexcept;
  /// Returns a number in [0, bound) without bias; `bound` > 0.
  std::uint64_t below(std::uint64_t bound) noexcept;
  /// Returns a normally distributed number, mean 0 and variance 1 (Box-Muller, two draws each).
  double normal() noexcept;

  /// Returns the number of 64-bit draws made so far.
  std::uint64_t position() const noexcept { return position_; }
  /// Moves to any position in constant time.
  void seek(std::uint64_t position) noexcept { position_ = position; }
  std::uint64_t seed() const noexcept { return seed_; }
  std::uint64_t stream() const noexcept { return stream_; }

 private:
  std::uint64_t seed_;
  std::uint64_t stream_;
  std::uint64_t position_ = 0;
};

}  // namespace mobula
