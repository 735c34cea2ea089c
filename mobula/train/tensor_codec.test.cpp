#include "mobula/train/tensor_codec.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sum.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "mobula/core/runtime.hpp"
#include "mobula/core/testing/worker_processes.hpp"

namespace mobula {
namespace {

at::Tensor doubled(at::Tensor tensor) {
  return tensor.mul_(2);
}
double sum_of(View<at::Tensor> tensor) {
  return tensor->sum().item<double>();
}
at::Tensor counted(std::int64_t size) {
  return at::arange(size, at::kDouble);
}

at::Tensor through_bytes(const at::Tensor& tensor) {
  return from_bytes<at::Tensor>(to_bytes(tensor));
}

TEST(TensorCodec, KeepsTypeShapeAndBits) {
  for (const auto type : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kComplexFloat}) {
    for (const auto& sizes : std::vector<std::vector<std::int64_t>>{{}, {0}, {3}, {2, 0, 5}, {2, 3, 5}}) {
      const at::Tensor tensor = at::randn(sizes, at::kFloat).to(type);
      const at::Tensor arrived = through_bytes(tensor);
      EXPECT_EQ(arrived.scalar_type(), type);
      EXPECT_EQ(arrived.sizes(), tensor.sizes());
      EXPECT_TRUE(arrived.equal(tensor)) << tensor.toString();
    }
  }
  for (const auto type : {at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kBool}) {
    const at::Tensor tensor = at::arange(7, at::kLong).to(type);
    EXPECT_TRUE(through_bytes(tensor).equal(tensor));
    EXPECT_EQ(through_bytes(tensor).scalar_type(), type);
  }
  EXPECT_FALSE(through_bytes(at::Tensor()).defined());
}

TEST(TensorCodec, LaysTransposedTensorsOutAnew) {
  const at::Tensor transposed = at::arange(6, at::kFloat).reshape({2, 3}).t();
  const at::Tensor arrived = through_bytes(transposed);
  EXPECT_TRUE(arrived.is_contiguous());
  EXPECT_TRUE(arrived.equal(transposed));
  WireWriter count{WireWriter::Counting{}};
  codec::encode(count, transposed);
  EXPECT_EQ(count.size(), to_bytes(transposed).size());
}

TEST(TensorCodec, LeavesTheHistoryOfGradientsBehind) {
  const at::Tensor leaf = at::randn({4}).requires_grad_(true);
  EXPECT_FALSE(through_bytes(leaf).requires_grad());
}

TEST(TensorCodec, RefusesSparseTensorsSayingWhatToSend) {
  try {
    to_bytes(at::arange(3, at::kFloat).to_sparse());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_NE(error.message().find("Sparse"), std::string::npos) << error.message();
    EXPECT_NE(error.hint().find("to_dense"), std::string::npos);
  }
}

TEST(TensorCodec, RefusesDamagedBytes) {
  const std::string bytes = to_bytes(at::randn({3, 4}));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(from_bytes<at::Tensor>(bytes.substr(0, size)), Error) << size;
  }
  std::string strange = bytes;
  strange[0] = 100;
  EXPECT_THROW(from_bytes<at::Tensor>(strange), Error);
  std::string huge = bytes;
  huge[9] = '\x7f';  // the highest byte of the first dimension
  EXPECT_THROW(from_bytes<at::Tensor>(huge), Error);
}

[[maybe_unused]] const auto* const kWorkers = ::testing::AddGlobalTestEnvironment(new mobula::testing::ServeWorkers);

class TensorsAcrossProcesses : public ::testing::Test {
 protected:
  Runtime rt{RuntimeOptions{.num_cpus = 2}};
  TaskOptions process{.isolation = Isolation::process};
};

TEST_F(TensorsAcrossProcesses, GoAndComeBack) {
  const at::Tensor tensor = at::randn({300, 100});
  EXPECT_TRUE(rt.get(rt.with(process).remote<doubled>(tensor)).equal(doubled(tensor.clone())));
  const auto ref = rt.put(tensor);
  EXPECT_TRUE(rt.get(rt.with(process).remote<doubled>(ref)).equal(doubled(tensor.clone())));
  EXPECT_TRUE(rt.get(ref).equal(tensor)) << "the worker changed the caller's tensor";
}

TEST_F(TensorsAcrossProcesses, AreLookedAtWhereTheyLie) {
  const auto ref = rt.with(process).remote<counted>(200'000);
  const auto view = rt.view(ref);
  const auto again = rt.view(ref);
  EXPECT_EQ(view->const_data_ptr(), again->const_data_ptr());
  EXPECT_TRUE(mobula::testing::shared_with_processes(view->const_data_ptr()));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(view->const_data_ptr()) % 64, 0u);
  EXPECT_EQ(rt.get(rt.with(process).remote<sum_of>(ref)), 199'999.0 * 100'000);
  EXPECT_TRUE(view->equal(at::arange(200'000, at::kDouble)));
  EXPECT_FALSE(mobula::testing::shared_with_processes(rt.get(ref).const_data_ptr()))
      << "the caller may write to what get() returns";
}

TEST_F(TensorsAcrossProcesses, OutliveTheirRefInAView) {
  auto ref = rt.with(process).remote<counted>(200'000);
  const auto view = rt.view(ref);
  ref = {};
  EXPECT_EQ(rt.get(rt.with(process).remote<sum_of>(rt.with(process).remote<counted>(200'000))), 199'999.0 * 100'000);
  EXPECT_EQ(view->sum().item<double>(), 199'999.0 * 100'000);
}

}  // namespace
}  // namespace mobula
