#include "mobula/nn/safetensors.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "mobula/base/error.hpp"
#include "mobula/base/random.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/nn/checkpoint.hpp"
#include "mobula/nn/safetensors_writer.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::nn {
namespace {

std::string file_of(const std::string& header, std::size_t data_size) {
  const std::uint64_t size = header.size();
  std::string file(reinterpret_cast<const char*>(&size), 8);
  return file + header + std::string(data_size, '\0');
}

// Returns the refusal's message, or "accepted".
std::string refusal(const std::string& file) {
  return mobula::refusal([&] { parse_safetensors(std::as_bytes(std::span(file)), "f"); });
}

std::string refusal(const std::string& header, std::size_t data_size) {
  return refusal(file_of(header, data_size));
}

TEST(Safetensors, WritesWhatItReadsBack) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "x.safetensors";
  const std::vector<NamedTensor> tensors = {{"b \"quoted\" \u00e9", at::rand({3, 5}).to(at::kBFloat16)},
                                            {"a", at::rand({2, 3, 4})},
                                            {"transposed", at::rand({4, 3}).t()},
                                            {"empty", at::zeros({0, 7})},
                                            {"scalar", at::zeros({}, at::kLong)},
                                            {"flags", at::zeros({5}, at::kBool)}};
  write_safetensors(path, tensors, {{"format", "pt"}, {"k", "v"}});
  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata().at("k"), "v");
  EXPECT_EQ(file.entries().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(file.tensor(name).scalar_type(), tensor.scalar_type());
    EXPECT_TRUE(at::equal(to_tensor(file.tensor(name)), tensor)) << name;
  }
  EXPECT_THROW(file.tensor("c"), Error);
}

TEST(Safetensors, KeepsTheMappingAliveBehindItsTensors) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "x.safetensors";
  write_safetensors(path, {{"a", at::arange(100, at::kFloat)}});
  const Array array = SafetensorsFile(path).tensor("a");
  EXPECT_EQ(array.const_data_ptr<float>()[99], 99.0f);
}

TEST(Safetensors, ReadsTensorsThatAreNotAligned) {
  std::string file = file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4);
  const TemporaryDirectory folder;
  for (int pad = 0; pad < 8; ++pad) {
    const auto path = folder.path() / "x.safetensors";
    std::ofstream(path) << file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})" + std::string(pad, ' '),
                                   4);
    EXPECT_EQ(SafetensorsFile(path).tensor("a").const_data_ptr<float>()[0], 0.0f);
  }
}

TEST(Safetensors, RefusesANameGivenTwice) {
  const TemporaryDirectory folder;
  EXPECT_THROW(write_safetensors(folder.path() / "x", {{"a", at::zeros({1})}, {"a", at::zeros({1})}}), Error);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Safetensors, RefusesHeadersThatLie) {
  EXPECT_EQ(refusal(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8), "accepted");
  EXPECT_EQ(refusal("{}", 0), "accepted");
  const auto expect = [](const std::string& message, const std::string& part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  expect(refusal(std::string("1234567")), "too few");
  expect(refusal(std::string(8, '\xff') + "{}"), "no safetensors file");
  expect(refusal(std::string("\x01\x00\x00\x40\x00\x00\x00\x00{}", 10)), "no safetensors file");
  expect(refusal(std::string("\x03\x00\x00\x00\x00\x00\x00\x00{}", 10)), "truncated");
  expect(refusal("", 4), "'{'");
  expect(refusal("[]", 0), "'{'");
  expect(refusal("{\"a\":", 0), "no JSON");
  expect(refusal(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7), "truncated");
  expect(refusal(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9), "belong to none");
  expect(refusal(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8), "needs 12");
  expect(refusal(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8), "bytes 8 to 0");
  expect(refusal(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0),
         "more than an address");
  expect(refusal(R"({"a":{"dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}})", 0),
         "more than an address");
  expect(refusal(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,0]}})", 0), "dimension");
  expect(refusal(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}})", 0), "negative");
  expect(refusal(R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,0]}})", 0), "fraction");
  expect(
      refusal(
          R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
          6),
      "overlaps");
  expect(
      refusal(
          R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
          12),
      "hole");
  expect(
      refusal(
          R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
          8),
      "twice");
  expect(refusal(R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4), "twice");
  expect(refusal(R"({"a":{"dtype":"F32","shape":[1]}})", 4), "lacks");
  expect(refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4), "number");
  expect(refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4), "two data_offsets");
  expect(refusal(R"({"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}})", 4), "F33");
  expect(refusal(R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4), "array");
  expect(refusal(R"({"a":7})", 0), "number");
  expect(refusal(R"({"a":{"b":{"c":{}}}})", 0), "unknown key");
  expect(refusal(R"({"__metadata__":{"a":{"b":"c"}}})", 0), "object");
  expect(refusal("{\"__metadata__\":" + std::string(100000, '['), 0), "array");
}

TEST(Safetensors, ReadsOnlyInsideAFileWhoseBytesWereChangedAtRandom) {
  const std::string good = file_of(
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}})",
      32);
  Random random(7);
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bad = good;
    for (int changes = 1 + static_cast<int>(random.below(3)); changes > 0; --changes) {
      bad[random.below(bad.size())] = static_cast<char>(random.below(256));
    }
    if (random.below(4) == 0) bad.resize(random.below(bad.size()));
    refused += refusal(bad) != "accepted";
  }
  EXPECT_GT(refused, 1000);
}

TEST(CheckpointTensors, ReadsShardsThroughTheirIndex) {
  const TemporaryDirectory folder;
  write_safetensors(folder.path() / "model-1.safetensors", {{"a", at::arange(3, at::kFloat)}});
  write_safetensors(folder.path() / "model-2.safetensors", {{"b", at::arange(4, at::kFloat)}});
  const auto index = folder.path() / "model.safetensors.index.json";
  write_file_atomic(index, R"({"metadata":{},"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})");
  const CheckpointTensors tensors(folder.path());
  EXPECT_EQ(tensors.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(tensors.tensor("b").size(0), 4);
  EXPECT_EQ(tensors.main_type(), at::kFloat);
  write_file_atomic(index, R"({"weight_map":{"a":"model-1.safetensors","b":"model-3.safetensors"}})");
  EXPECT_THROW(CheckpointTensors{folder.path()}, Error);
  write_file_atomic(index, R"({"weight_map":{"a":"model-1.safetensors","b":"../model-2.safetensors"}})");
  EXPECT_THROW(CheckpointTensors{folder.path()}, Error);
  write_file_atomic(index, R"({"weight_map":{"b":"model-1.safetensors"}})");
  EXPECT_THROW(CheckpointTensors{folder.path()}, Error);
  EXPECT_THROW(CheckpointTensors{folder.path() / "nowhere"}, Error);
}

}  // namespace
}  // namespace mobula::nn
