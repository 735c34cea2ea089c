#include "mobula/nn/decoder/mapped_pages.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include "mobula/base/files.hpp"
#include "mobula/nn/layers/initialization.hpp"
#include "mobula/nn/safetensors.hpp"
#include "mobula/nn/safetensors_writer.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::nn {
namespace {

// Returns the kilobytes of the mapping around an address that are in this process's memory.
long resident_kilobytes(const void* address) {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long long begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%llx-%llx ", &begin, &end) == 2) inside = begin <= at && at < end;
    if (inside && line.starts_with("Rss:")) return std::strtol(line.c_str() + 4, nullptr, 10);
  }
  return -1;
}

TEST(MappedPages, LeaveMemoryAndComeBackFromTheFile) {
  const TemporaryDirectory folder("mapped");
  const at::Tensor numbers = normal_tensor({512, 1024}, 1.0, 1, "x");
  write_safetensors(folder.path() / "a.safetensors", {{"x", numbers}});
  const SafetensorsFile file(folder.path() / "a.safetensors");
  const at::Tensor mapped = to_tensor(file.tensor("x"));
  ASSERT_TRUE(mapped.equal(numbers));
  const long before = resident_kilobytes(mapped.const_data_ptr());
  ASSERT_GE(before, 2048);
  MappedPages().release(to_array(mapped));
  EXPECT_LE(resident_kilobytes(mapped.const_data_ptr()), before - 2000);
  EXPECT_TRUE(mapped.equal(numbers));
}

TEST(MappedPages, LeavesOtherMemoryAsItIs) {
  const at::Tensor numbers = normal_tensor({512, 1024}, 1.0, 1, "x"), copy = numbers.clone();
  MappedPages().release(to_array(numbers));
  EXPECT_TRUE(numbers.equal(copy));
}

}  // namespace
}  // namespace mobula::nn
