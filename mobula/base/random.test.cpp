#include "mobula/base/random.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace mobula {
namespace {

// Known answers: kat_vectors of the Random123 distribution, philox4x32 with 10 rounds.
TEST(Random, MatchesThePublishedPhiloxVectors) {
  using Words = std::array<std::uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, SeeksInConstantTimeToTheSameNumbers) {
  Random straight(42, 3);
  std::vector<std::uint64_t> numbers;
  for (int i = 0; i < 9; ++i) numbers.push_back(straight());
  for (std::uint64_t at = 0; at < 9; ++at) {
    Random jumped(42, 3);
    jumped.seek(at);
    EXPECT_EQ(jumped(), numbers[at]);
  }
}

TEST(Random, GivesStreamsAndSeedsThatDiffer) {
  Random a(1, 0), b(1, 1), c(2, 0);
  EXPECT_NE(a(), b());
  a.seek(0);
  EXPECT_NE(a(), c());
}

TEST(Random, DrawsBelowABoundWithoutBias) {
  Random random(7);
  std::vector<int> counts(6);
  for (int i = 0; i < 60000; ++i) ++counts[random.below(6)];
  // 6 standard deviations of a binomial(60000, 1/6) are 548.
  for (int count : counts) EXPECT_NEAR(count, 10000, 548);
}

TEST(Random, DrawsStandardNormals) {
  Random random(11);
  double sum = 0, squares = 0;
  constexpr int kCount = 100000;
  for (int i = 0; i < kCount; ++i) {
    const double value = random.normal();
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / kCount, 0, 0.02);
  EXPECT_NEAR(squares / kCount, 1, 0.03);
}

}  // namespace
}  // namespace mobula
