#include "mobula/nn/decoder/aligned_buffer.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace mobula::nn {
namespace {

bool is_mapped(const void* address) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  unsigned char resident = 0;
  return ::mincore(reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(address) / page * page), 1, &resident) == 0;
}

TEST(AlignedBuffer, StartsOnCacheLinesAndKeepsItsMemoryUntilItGrows) {
  AlignedBuffer<float> buffer;
  EXPECT_EQ(buffer.data(), nullptr);
  for (const std::int64_t count : {1, 1000, 1 << 20}) {
    float* const data = buffer.sized(count);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data) % 64, 0u);
    data[0] = data[count - 1] = 3.0f;
    EXPECT_EQ(buffer.sized(count / 2), data);
    EXPECT_EQ(buffer.data()[0], 3.0f);
  }
}

TEST(AlignedBuffer, GivesLargeMemoryBackToTheSystem) {
  AlignedBuffer<float> buffer;
  float* const data = buffer.sized(8 << 20);
  data[0] = 1.0f;
  ASSERT_TRUE(is_mapped(data));
  buffer.release();
  EXPECT_FALSE(is_mapped(data));
  EXPECT_EQ(buffer.data(), nullptr);
  buffer.sized(10)[9] = 2.0f;
}

}  // namespace
}  // namespace mobula::nn
