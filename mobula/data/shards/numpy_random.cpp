#include "mobula/data/shards/numpy_random.hpp"

#include <array>

namespace mobula::data {
namespace {

/// numpy's SeedSequence: entropy mixed into a pool of four words, out of which any number of words come (after O'Neill's
/// seed_seq, with numpy's constants).
class SeedSequence {
 public:
  explicit SeedSequence(std::uint64_t seed) {
    const std::array<std::uint32_t, 2> entropy = {static_cast<std::uint32_t>(seed),
                                                  static_cast<std::uint32_t>(seed >> 32)};
    std::uint32_t constant = 0x43b0d7e5;
    const auto hashed = [&constant](std::uint32_t value) {
      value ^= constant;
      constant *= 0x931e8875;
      value *= constant;
      return value ^ value >> 16;
    };
    for (std::size_t i = 0; i < pool_.size(); ++i) pool_[i] = hashed(i < entropy.size() ? entropy[i] : 0);
    for (std::size_t from = 0; from < pool_.size(); ++from) {
      for (std::size_t to = 0; to < pool_.size(); ++to) {
        if (from == to) continue;
        const std::uint32_t mixed = pool_[to] * 0xca01f9dd - hashed(pool_[from]) * 0x4973f715;
        pool_[to] = mixed ^ mixed >> 16;
      }
    }
  }
  std::array<std::uint64_t, 4> words() const {
    std::array<std::uint64_t, 4> result{};
    std::uint32_t constant = 0x8b51f9dd;
    for (std::size_t i = 0; i < 2 * result.size(); ++i) {
      std::uint32_t value = pool_[i % pool_.size()] ^ constant;
      constant *= 0x58f38ded;
      value *= constant;
      value ^= value >> 16;
      result[i / 2] |= static_cast<std::uint64_t>(value) << (i % 2 * 32);
    }
    return result;
  }

 private:
  std::array<std::uint32_t, 4> pool_{};
};

}  // namespace

NumpyGenerator::NumpyGenerator(std::uint64_t seed) {
  const auto words = SeedSequence(seed).words();
  increment_ = (static_cast<Wide>(words[2]) << 64 | words[3]) << 1 | 1;
  step();
  state_ += static_cast<Wide>(words[0]) << 64 | words[1];
  step();
}

void NumpyGenerator::step() {
  constexpr Wide kMultiplier = static_cast<Wide>(2549297995355413924U) << 64 | 4865540595714422341U;
  state_ = state_ * kMultiplier + increment_;
}

std::uint64_t NumpyGenerator::next_64() {
  step();
  const std::uint64_t value = static_cast<std::uint64_t>(state_ >> 64) ^ static_cast<std::uint64_t>(state_);
  const auto rotation = static_cast<unsigned>(state_ >> 122);
  return value >> rotation | value << (-rotation & 63);
}

std::uint32_t NumpyGenerator::next_32() {
  if (has_upper_) {
    has_upper_ = false;
    return upper_;
  }
  const std::uint64_t value = next_64();
  upper_ = static_cast<std::uint32_t>(value >> 32);
  has_upper_ = true;
  return static_cast<std::uint32_t>(value);
}

double NumpyGenerator::real() {
  return static_cast<double>(next_64() >> 11) * (1.0 / 9007199254740992.0);
}

std::int64_t NumpyGenerator::integer(std::int64_t low, std::int64_t high) {
  // Lemire's method (2019), on words of 32 bits.
  const auto range = static_cast<std::uint32_t>(static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low) - 1);
  if (range == 0) return low;
  if (range == 0xffffffff) return low + next_32();
  const std::uint32_t exclusive = range + 1;
  std::uint64_t product = static_cast<std::uint64_t>(next_32()) * exclusive;
  if (static_cast<std::uint32_t>(product) < exclusive) {
    const std::uint32_t threshold = (0xffffffff - range) % exclusive;
    while (static_cast<std::uint32_t>(product) < threshold) product = static_cast<std::uint64_t>(next_32()) * exclusive;
  }
  return low + static_cast<std::int64_t>(product >> 32);
}

std::uint64_t NumpyGenerator::up_to(std::uint64_t max) {
  if (max == 0) return 0;
  std::uint64_t mask = max;
  for (const int shift : {1, 2, 4, 8, 16, 32}) mask |= mask >> shift;
  while (true) {
    const std::uint64_t value = (max <= 0xffffffff ? next_32() : next_64()) & mask;
    if (value <= max) return value;
  }
}

}  // namespace mobula::data
