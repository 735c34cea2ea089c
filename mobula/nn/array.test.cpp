#include "mobula/nn/array.hpp"

#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <limits>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/nn/parallel_for.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::nn {
namespace {

TEST(Array, ConvertsToTheBitAsLibtorchDoes) {
  at::Tensor numbers = at::randn({3, 70001}).mul(100.0);
  numbers[0][0].fill_(std::numeric_limits<float>::infinity());
  numbers[0][1].fill_(1e30);
  numbers[0][2].fill_(1e-7);
  for (const auto from : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kFloat8_e4m3fn, at::kFloat8_e5m2}) {
    for (const auto to : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
      const at::Tensor source = numbers.to(from), wanted = source.to(to);
      const Array got = to_array(source).to(to);
      ASSERT_EQ(got.sizes(), Shape({3, 70001}));
      ASSERT_EQ(0, std::memcmp(got.const_data_ptr(), wanted.const_data_ptr(), got.nbytes())) << from << to;
    }
  }
  EXPECT_THROW(to_array(at::randn({2}).to(at::kLong)).to(at::kFloat), Error);
}

TEST(Array, SharesMemoryWithTensorsBothWays) {
  at::Tensor tensor = at::randn({4, 5});
  const Array array = to_array(tensor);
  EXPECT_EQ(array.const_data_ptr(), tensor.const_data_ptr());
  EXPECT_EQ(to_tensor(array).const_data_ptr(), tensor.const_data_ptr());
  const Array turned = to_array(tensor.t());
  tensor = at::Tensor();
  EXPECT_TRUE(to_tensor(array).equal(to_tensor(turned).t()));
  EXPECT_FALSE(to_array(at::Tensor()).defined());
  EXPECT_FALSE(to_tensor(Array()).defined());
}

TEST(Array, CutsSelectsAndTransposesAsLibtorchDoes) {
  const at::Tensor tensor = at::randn({9, 70, 3});
  const Array array = to_array(tensor);
  EXPECT_TRUE(to_tensor(array.narrow(2, 5)).equal(tensor.narrow(0, 2, 5)));
  EXPECT_TRUE(to_tensor(array.select(8)).equal(tensor.select(0, 8)));
  EXPECT_TRUE(to_tensor(array.select_rows({7, 0, 7})).equal(at::stack({tensor[7], tensor[0], tensor[7]})));
  for (const auto type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const at::Tensor matrix = tensor.flatten(1).to(type);
    EXPECT_TRUE(to_tensor(to_array(matrix).transposed()).equal(matrix.t())) << type;
  }
  EXPECT_THROW(array.narrow(5, 5), Error);
  EXPECT_THROW(array.reshaped({9, 209}), Error);
  EXPECT_THROW(array.const_data_ptr<double>(), Error);
}

TEST(ParallelFor, DoesEveryPieceOnceAlsoWithinALoop) {
  std::vector<std::atomic<int>> seen(1000);
  parallel_for(10, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t outer = begin; outer < end; ++outer) {
      parallel_for(100, 7, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) ++seen[static_cast<std::size_t>(outer * 100 + i)];
      });
    }
  });
  for (const auto& times : seen) ASSERT_EQ(times, 1);
}

}  // namespace
}  // namespace mobula::nn
