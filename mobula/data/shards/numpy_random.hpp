/// numpy's random numbers, bit for bit: np.random.default_rng(seed), for formats whose order of samples is defined by them.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace mobula::data {

/// PCG64 (XSL-RR 128/64, O'Neill 2014) seeded by numpy's SeedSequence, with the methods of numpy.random.Generator (numpy
/// 1.17 to 2.4). Not thread-safe.
class NumpyGenerator {
 public:
  explicit NumpyGenerator(std::uint64_t seed);

  /// Returns 64 random bits.
  std::uint64_t next_64();
  /// Returns 32 random bits: the lower half of a number of 64, then its upper half.
  std::uint32_t next_32();
  /// Returns a number in [0, 1), as random() does.
  double real();
  /// Returns a number in [low, high), as integers(low, high) does. high - low is at most 2^32.
  std::int64_t integer(std::int64_t low, std::int64_t high);

  /// Shuffles [first, last) as shuffle() does.
  template <class Iterator>
  void shuffle(Iterator first, Iterator last) {
    for (auto i = last - first - 1; i > 0; --i) {
      std::swap(first[i], first[static_cast<decltype(i)>(up_to(static_cast<std::uint64_t>(i)))]);
    }
  }

 private:
  void step();
  /// Returns a number in [0, max], by drawing until one fits under a mask.
  std::uint64_t up_to(std::uint64_t max);

  __extension__ using Wide = unsigned __int128;
  Wide state_ = 0;
  Wide increment_ = 0;
  std::uint32_t upper_ = 0;
  bool has_upper_ = false;
};

}  // namespace mobula::data
