#include "mobula/core/codec.hpp"

#include <gtest/gtest.h>

namespace mobula {
namespace {

struct Pair {
  float x, y;
  bool operator==(const Pair&) const = default;
};
struct Nested {
  Pair a;
  std::array<std::int32_t, 2> b;
  bool operator==(const Nested&) const = default;
};
struct Padded {
  char c;
  double d;
  bool operator==(const Padded&) const = default;
};
struct Named {
  std::string name;
  int number;
};

static_assert(codec::Flat<double> && codec::Flat<Pair> && codec::Flat<Nested> && codec::Flat<std::array<Pair, 3>>);
static_assert(!codec::Flat<Padded> && !codec::Flat<Named> && !codec::Flat<std::string> && !codec::Flat<Local<int>>);
static_assert(!codec::Flat<std::string_view>, "what it points at stays behind");
static_assert(codec::is_flat_vector<std::vector<Pair>> && !codec::is_flat_vector<std::vector<bool>>);

template <class T>
void comes_back(const T& value) {
  const std::string bytes = to_bytes(value);
  EXPECT_EQ(codec::encoded_size(value), bytes.size());
  EXPECT_EQ(from_bytes<T>(bytes), value);
  EXPECT_THROW(from_bytes<T>(bytes.substr(0, bytes.size() - 1)), Error);
}

TEST(Codec, BringsBackRunsOfPlainValuesAndOfPaddedOnes) {
  comes_back(std::vector<Pair>{{1, 2}, {3, 4}});
  comes_back(std::vector<Nested>{{{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}});
  comes_back(std::vector<Padded>{{'a', 1.5}, {'b', 2.5}});
  comes_back(std::array<Nested, 2>{});
  comes_back(std::vector<bool>{true, false, true});
}

TEST(Codec, WritesFlatAggregatesAsTheyLieInMemory) {
  const std::vector<Nested> values{{{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}};
  const std::string bytes = to_bytes(values);
  ASSERT_EQ(bytes.size(), 8 + 2 * sizeof(Nested));
  EXPECT_EQ(std::memcmp(bytes.data() + 8, values.data(), 2 * sizeof(Nested)), 0);
  // Padding is not sent: it would carry whatever lay there before.
  EXPECT_EQ(to_bytes(std::vector<Padded>(2)).size(), 8 + 2 * 9U);
}

TEST(WireWriter, WritesIntoBorrowedMemoryAndNotPastIt) {
  char memory[12];
  WireWriter out(memory, sizeof memory);
  out.number<std::uint64_t>(7);
  out.number<std::uint32_t>(8);
  EXPECT_EQ(out.bytes().size(), 12U);
  EXPECT_EQ(out.bytes().data(), memory);
  EXPECT_THROW(out.number<char>('x'), Error);
}

TEST(WireWriter, CountsWithoutKeeping) {
  WireWriter out{WireWriter::Counting{}};
  out.text("twelve");
  EXPECT_EQ(out.size(), 8 + 6U);
  EXPECT_TRUE(out.bytes().empty());
}

}  // namespace
}  // namespace mobula
