#include "mobula/nn/kernels/buffer_pool.hpp"
#include "mobula/nn/kernels/pooled_tensor.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace mobula::nn::kernels {
namespace {

TEST(BufferPool, GivesTheSameMemoryAgain) {
  trim_buffers();
  std::shared_ptr<std::byte> block = take_buffer(1000);
  const std::byte* address = block.get();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(address) % 64, 0u);
  block.reset();
  EXPECT_EQ(take_buffer(1000).get(), address);
}

TEST(BufferPool, KeepsNoMoreIdleThanWasInUse) {
  trim_buffers();
  const std::size_t before = idle_buffer_bytes();
  for (std::size_t size = 4096; size <= 40960; size += 4096) take_buffer(size).reset();
  EXPECT_LE(idle_buffer_bytes(), before + 40960);
  trim_buffers();
  EXPECT_EQ(idle_buffer_bytes(), 0u);
}

TEST(BufferPool, LendsATensorUntilItsLastOwnerIsGone) {
  trim_buffers();
  at::Tensor tensor = take_tensor({3, 100});
  const at::Tensor view = tensor.select(0, 1);
  const std::byte* address = static_cast<const std::byte*>(tensor.data_ptr());
  tensor.reset();
  EXPECT_NE(take_buffer(1200).get(), address);
  EXPECT_EQ(view.size(0), 100);
}

}  // namespace
}  // namespace mobula::nn::kernels
