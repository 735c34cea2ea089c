#include "mobula/nn/decoder/huge_pages.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>

namespace mobula::nn {
namespace {

TEST(HugePages, HandsOutMemoryThatDoesNotOverlapAndOutlivesIt) {
  std::optional<HugePages> pages(std::in_place);
  std::vector<at::Tensor> tensors;
  // Odd sizes, one larger than a chunk, and enough for several chunks.
  for (const std::int64_t size : {1, 63, 65, 70 << 20, 30 << 20, 40 << 20, 0, 5}) {
    tensors.push_back(pages->empty({size}, at::kByte));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensors.back().data_ptr()) % 64, 0u);
    tensors.back().fill_(static_cast<std::int64_t>(tensors.size()));
  }
  pages.reset();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_TRUE(tensors[i].eq(static_cast<std::int64_t>(i + 1)).all().item<bool>()) << i;
  }
}

TEST(HugePages, GivesShapesAndTypes) {
  HugePages pages;
  const at::Tensor tensor = pages.empty({3, 5}, at::kFloat);
  EXPECT_EQ(tensor.sizes(), at::IntArrayRef({3, 5}));
  EXPECT_EQ(tensor.scalar_type(), at::kFloat);
  EXPECT_TRUE(tensor.is_contiguous());
}

}  // namespace
}  // namespace mobula::nn
