#include "mobula/nn/quantized_matrix.hpp"

#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/nn/checkpoint.hpp"
#include "mobula/nn/decoder/quantize.hpp"
#include "mobula/nn/safetensors_writer.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::nn {
namespace {

using Parts = std::map<std::string, at::Tensor>;

Parts parts_of(const at::Tensor& weight, QuantizedFormat format) {
  Parts parts;
  for (const NamedArray& part : stored_tensors("m.weight", quantize_matrix(to_array(weight), format))) {
    parts[part.name] = to_tensor(part.array);
  }
  return parts;
}

std::shared_ptr<const QuantizedMatrix> read(const Parts& parts) {
  return read_quantized("file", "m.weight", [&](const std::string& name) {
    const auto found = parts.find(name);
    return found == parts.end() ? Array() : to_array(found->second);
  });
}

at::Tensor numbers_of(const QuantizedMatrix& matrix) {
  return to_tensor(matrix.dequantize());
}

double relative_error(const at::Tensor& a, const at::Tensor& b) {
  return a.to(at::kFloat).sub(b.to(at::kFloat)).norm().item<double>() / b.to(at::kFloat).norm().item<double>();
}

TEST(QuantizedMatrix, IsReadAsItWasWrittenAndStaysNearTheNumbers) {
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const auto& [format, tolerance] :
         {std::pair(QuantizedFormat::int8, 0.01), {QuantizedFormat::int4, 0.12}, {QuantizedFormat::nf4, 0.12}}) {
      SCOPED_TRACE(to_string(format));
      const at::Tensor weight = at::randn({37, 192}).to(type);
      const QuantizedMatrix made = quantize_matrix(to_array(weight), format);
      const auto again = read(parts_of(weight, format));
      EXPECT_EQ(made.dequantize().scalar_type(), type);
      EXPECT_TRUE(numbers_of(*again).equal(numbers_of(made)));
      EXPECT_LE(relative_error(numbers_of(made), weight), tolerance);
    }
  }
}

TEST(QuantizedMatrix, KeepsTheLargestNumberOfAGroupOf4BitsAndGroupsOfZeros) {
  at::Tensor weight = at::zeros({2, 128});
  weight[0][5].fill_(0.37);
  weight[0][6].fill_(-0.1);
  for (const auto format : {QuantizedFormat::int4, QuantizedFormat::nf4}) {
    const at::Tensor back = numbers_of(quantize_matrix(to_array(weight), format));
    EXPECT_EQ(back[0][5].item<float>(), 0.37f);
    EXPECT_TRUE(back[1].equal(weight[1]));
  }
}

TEST(QuantizedMatrix, OfNf4RunsItsBlocksOverTheEndsOfRows) {
  const at::Tensor weight = at::randn({5, 13});  // an odd number of numbers
  const QuantizedMatrix matrix = quantize_matrix(to_array(weight), QuantizedFormat::nf4);
  EXPECT_EQ(matrix.digits.numel(), 33);
  EXPECT_EQ(matrix.scales.numel(), 2);
  EXPECT_LE(relative_error(numbers_of(matrix), weight), 0.15);
  EXPECT_EQ(matrix.scales.const_data_ptr<float>()[1], std::abs(weight[4][12].item<float>()));
}

TEST(QuantizedMatrix, RefusesInputsThatMakeNoWholeGroups) {
  EXPECT_THROW(quantize_matrix(to_array(at::randn({4, 65})), QuantizedFormat::int4), Error);
}

TEST(QuantizedMatrix, GivesKernelsTheSameNumbersWithoutRoundingAnew) {
  for (const auto format : {QuantizedFormat::int8, QuantizedFormat::int4}) {
    QuantizedMatrix matrix = quantize_matrix(to_array(at::randn({35, 256})), format);
    const auto same = [&] {
      const auto type = type_of(matrix);
      ASSERT_TRUE(type.has_value());
      HugePages pages;
      const Array kernel = dequantize(rearrange(matrix, pages), *type, matrix.num_in);
      EXPECT_TRUE(to_tensor(kernel).equal(numbers_of(matrix)));
    };
    same();
    matrix.scales = to_array(to_tensor(matrix.scales).narrow(1, 0, 2));  // groups of 128
    same();
    // One scale a row, and inputs that fill no group.
    matrix.scales = to_array(to_tensor(matrix.scales).narrow(1, 0, 1));
    matrix.digits = to_array(to_tensor(matrix.digits).narrow(1, 0, format == QuantizedFormat::int8 ? 25 : 13));
    matrix.num_in = 99;
    same();
    matrix.num_in = 96;
    matrix.scales = to_array(at::randn({35, 3}));  // groups of 32: another kernel's
    EXPECT_FALSE(type_of(matrix).has_value());
  }
  EXPECT_FALSE(type_of(quantize_matrix(to_array(at::randn({3, 64})), QuantizedFormat::nf4)).has_value());
}

TEST(QuantizedMatrix, SelectsRows) {
  const QuantizedMatrix matrix = quantize_matrix(to_array(at::randn({8, 64})), QuantizedFormat::int4);
  const auto odd_rows = [](const Array& rows) { return rows.select_rows({1, 3, 5, 7}); };
  EXPECT_TRUE(numbers_of(matrix.select_rows(odd_rows)).equal(numbers_of(matrix).slice(0, 1, 8, 2)));
}

void expect_refusal(QuantizedFormat format, const std::string& named, const std::function<void(Parts&)>& change) {
  Parts parts = parts_of(at::randn({6, 128}), format);
  change(parts);
  try {
    read(parts)->dequantize();
    ADD_FAILURE() << "accepted: " << named;
  } catch (const Error& error) {
    EXPECT_NE(error.message().find(named), std::string::npos) << error.message();
    EXPECT_EQ(error.message().find("file: "), 0u) << error.message();
  }
}

at::Tensor bytes_of(const std::string& text) {
  std::vector<std::uint8_t> bytes(text.begin(), text.end());
  return at::tensor(bytes);
}

TEST(QuantizedMatrix, IsRefusedWithPartsThatAreMissingMisshapenOrStrange) {
  const auto four = [](const std::string& named, const std::function<void(Parts&)>& change) {
    expect_refusal(QuantizedFormat::int4, named, change);
  };
  four("weight_scale", [](Parts& p) { p.erase("m.weight_scale"); });
  four("weight_shape", [](Parts& p) { p.erase("m.weight_shape"); });
  four("weight_shape", [](Parts& p) { p["m.weight_shape"] = at::tensor({6, 128, 1}); });
  four("weight_shape", [](Parts& p) { p["m.weight_shape"] = at::tensor(std::vector<std::int64_t>{6}); });
  four("weight_shape", [](Parts& p) { p["m.weight_shape"] = at::tensor(std::vector<std::int64_t>{-6, 128}); });
  four("weight_shape", [](Parts& p) {
    p["m.weight_shape"] = at::tensor(std::vector<std::int64_t>{std::int64_t{1} << 62, 4});
  });
  four("weight_packed", [](Parts& p) {
    p["m.weight_shape"] = at::tensor(std::vector<std::int64_t>{std::int64_t{1} << 30, 128});
  });
  four("weight_packed", [](Parts& p) { p["m.weight_packed"] = p["m.weight_packed"].narrow(1, 0, 7); });
  four("weight_packed", [](Parts& p) { p["m.weight_packed"] = p["m.weight_packed"].to(at::kLong); });
  four("weight_scale", [](Parts& p) { p["m.weight_scale"] = at::randn({6, 3}); });
  four("weight_scale", [](Parts& p) { p["m.weight_scale"] = at::randn({6, 0}); });
  four("weight_scale", [](Parts& p) { p["m.weight_scale"] = p["m.weight_shape"]; });
  four("weight_zero_point", [](Parts& p) { p["m.weight_zero_point"] = p["m.weight_packed"]; });
  four("weight_g_idx", [](Parts& p) { p["m.weight_g_idx"] = p["m.weight_shape"]; });
  const auto nf4 = [](const std::string& named, const std::function<void(Parts&)>& change) {
    expect_refusal(QuantizedFormat::nf4, named, change);
  };
  const std::string state = "m.weight.quant_state.bitsandbytes__nf4";
  const auto says = [&](const std::string& json) { return [=](Parts& p) { p[state] = bytes_of(json); }; };
  nf4("quant_state", says("{"));
  nf4("quant_state", says("[]"));
  nf4("quant_state", says(std::string(5000, ' ')));
  nf4("quant_state", says(R"({"blocksize": 64, "dtype": "float32", "shape": [6]})"));
  nf4("quant_state", says(R"({"blocksize": 0, "dtype": "float32", "shape": [6, 128]})"));
  nf4("quant_state", says(R"({"blocksize": 64, "dtype": "int3", "shape": [6, 128]})"));
  nf4("quant_state", says(R"({"blocksize": 64, "dtype": "float32", "shape": [6, 1e99]})"));
  nf4("m.weight'", says(R"({"blocksize": 64, "dtype": "float32", "shape": [2147483647, 2147483647]})"));
  nf4("absmax", says(R"({"blocksize": 32, "dtype": "float32", "shape": [6, 128]})"));
  nf4("absmax", [](Parts& p) { p.erase("m.weight.absmax"); });
  nf4("quant_map", [](Parts& p) { p["m.weight.quant_map"] = at::randn({15}); });
  nf4("nested_", [](Parts& p) { p["m.weight.absmax"] = p["m.weight.absmax"].to(at::kByte); });
}

TEST(QuantizedMatrix, StandsForItsPartsInACheckpoint) {
  const TemporaryDirectory folder;
  const at::Tensor weight = at::randn({6, 128});
  const QuantizedMatrix matrix = quantize_matrix(to_array(weight), QuantizedFormat::int8);
  std::vector<NamedTensor> tensors;
  for (const NamedArray& part : stored_tensors("a.b.weight", matrix))
    tensors.push_back({part.name, to_tensor(part.array)});
  tensors.push_back({"norm.weight", at::randn({4})});
  write_safetensors(folder.path() / "model.safetensors", tensors);
  const CheckpointTensors checkpoint(folder.path());
  EXPECT_EQ(checkpoint.names(), (std::vector<std::string>{"a.b.weight", "norm.weight"}));
  EXPECT_TRUE(to_tensor(checkpoint.tensor("a.b.weight")).equal(numbers_of(matrix)));
  EXPECT_EQ(checkpoint.quantized("norm.weight"), nullptr);
  CheckpointParameters dense(checkpoint, {});
  EXPECT_EQ(dense.quantized("a.b.weight", {6, 128}), nullptr);
  EXPECT_TRUE(to_tensor(dense.get("a.b.weight", {6, 128})).equal(numbers_of(matrix)));
  CheckpointParameters kept(checkpoint, {.keep_quantized = true});
  EXPECT_THROW(kept.quantized("a.b.weight", {6, 127}), Error);
  ASSERT_NE(kept.quantized("a.b.weight", {6, 128}), nullptr);
  EXPECT_THROW(kept.check_all_used({}), Error);
  kept.get("norm.weight", {4});
  kept.check_all_used({});
}

}  // namespace
}  // namespace mobula::nn
