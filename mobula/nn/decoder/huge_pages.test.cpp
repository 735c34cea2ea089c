#include "mobula/nn/decoder/huge_pages.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

namespace mobula::nn {
namespace {

TEST(HugePages, HandsOutMemoryThatDoesNotOverlapAndOutlivesIt) {
  std::optional<HugePages> pages(std::in_place);
  std::vector<Array> arrays;
  // Odd sizes, one larger than a chunk, and enough for several chunks.
  for (const std::int64_t size : {1, 63, 65, 70 << 20, 30 << 20, 40 << 20, 0, 5}) {
    arrays.push_back(pages->empty({size}, at::kByte));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arrays.back().data_ptr()) % 64, 0u);
    std::memset(arrays.back().data_ptr(), static_cast<int>(arrays.size()), arrays.back().nbytes());
  }
  pages.reset();
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const auto* bytes = arrays[i].const_data_ptr<std::uint8_t>();
    EXPECT_TRUE(std::all_of(bytes, bytes + arrays[i].numel(), [&](std::uint8_t byte) { return byte == i + 1; })) << i;
  }
}

TEST(HugePages, GivesShapesAndTypes) {
  HugePages pages;
  const Array array = pages.empty({3, 5}, at::kFloat);
  EXPECT_EQ(array.sizes(), Shape({3, 5}));
  EXPECT_EQ(array.scalar_type(), at::kFloat);
}

}  // namespace
}  // namespace mobula::nn
