#include "mobula/nn/gguf_file.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/testing/refusal.hpp"

namespace mobula::nn {
namespace {

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
std::string text(const std::string& value) {
  return raw<std::uint64_t>(value.size()) + value;
}

struct Tensor {
  std::string name = "w";
  std::vector<std::uint64_t> shape = {4, 2};  // the innermost first
  std::uint32_t type = 0;
  std::uint64_t offset = 0;
};

struct Parts {
  std::uint32_t version = 3;
  std::string metadata;  // of num_keys entries
  std::uint64_t num_keys = 0;
  std::vector<Tensor> tensors = {{}};
  std::string data = std::string(32, '\1');
  std::optional<std::uint64_t> num_tensors = {};

  std::string file() const {
    std::string out = "GGUF" + raw(version) + raw(num_tensors.value_or(tensors.size())) + raw(num_keys) + metadata;
    for (const Tensor& tensor : tensors) {
      out += text(tensor.name) + raw(static_cast<std::uint32_t>(tensor.shape.size()));
      for (const std::uint64_t size : tensor.shape) out += raw(size);
      out += raw(tensor.type) + raw(tensor.offset);
    }
    out.append((32 - out.size() % 32) % 32, '\0');
    return out + data;
  }
};

GgufHeader parse(const std::string& file) {
  return parse_gguf(std::as_bytes(std::span(file)), "x.gguf");
}

std::string refusal(const std::string& file) {
  const std::string message = mobula::refusal([&] { parse(file); });
  if (message != "accepted") {
    EXPECT_NE(message.find("x.gguf"), std::string::npos) << message;
  }
  return message;
}
std::string refusal(const Parts& parts) {
  return refusal(parts.file());
}

TEST(Gguf, GivesMetadataAndShapes) {
  Parts parts;
  parts.metadata = text("a.number") + raw<std::uint32_t>(5) + raw(-3) + text("a.list") + raw<std::uint32_t>(9) +
                   raw<std::uint32_t>(8) + raw<std::uint64_t>(2) + text("x") + text("yz") + text("a.real") +
                   raw<std::uint32_t>(6) + raw(1.5f);
  parts.num_keys = 3;
  const GgufHeader header = parse(parts.file());
  EXPECT_EQ(header.metadata.integer("a.number"), -3);
  EXPECT_EQ(header.metadata.number("a.number"), -3.0);
  EXPECT_EQ(header.metadata.number("a.real"), 1.5);
  EXPECT_EQ(*header.metadata.texts("a.list"), (std::vector<std::string>{"x", "yz"}));
  EXPECT_FALSE(header.metadata.text("a.other"));
  EXPECT_THROW(header.metadata.text("a.number"), Error);
  ASSERT_EQ(header.entries.size(), 1u);
  EXPECT_EQ(header.entries[0].info.shape, (std::vector<std::int64_t>{2, 4}));
  EXPECT_EQ(header.entries[0].info.num_bytes, 32u);
}

TEST(Gguf, IsRefusedWithBadCountsLengthsAndTypes) {
  EXPECT_EQ(refusal(Parts{}), "accepted");
  EXPECT_NE(refusal(Parts{.version = 1}).find("version 1"), std::string::npos);
  EXPECT_NE(refusal(Parts{.num_tensors = std::uint64_t{1} << 60}).find("tensors don't fit"), std::string::npos);
  EXPECT_NE(refusal(Parts{.num_keys = ~std::uint64_t{0}}).find("keys don't fit"), std::string::npos);
  EXPECT_NE(refusal(Parts{.tensors = {{.type = 4}}}).find("GGUF type 4"), std::string::npos);
  EXPECT_NE(refusal(Parts{.tensors = {{.shape = {4, 0}}}}).find("dimension of 0"), std::string::npos);
  const std::uint64_t huge = std::uint64_t{1} << 40;
  EXPECT_NE(refusal(Parts{.tensors = {{.shape = {huge, huge, huge}}}}).find("dimension"), std::string::npos);
  EXPECT_NE(refusal(Parts{.tensors = {{.shape = {1, 1, 1, 1, 1}}}}).find("5 dimensions"), std::string::npos);
  EXPECT_NE(refusal(Parts{.tensors = {{.shape = {33}, .type = 8}}}).find("blocks of 32"), std::string::npos);
  const std::string nested = text("k") + raw<std::uint32_t>(9) + raw<std::uint32_t>(9) + raw<std::uint64_t>(1);
  EXPECT_NE(refusal(Parts{.metadata = nested, .num_keys = 1}).find("list of lists"), std::string::npos);
  const std::string many = text("k") + raw<std::uint32_t>(9) + raw<std::uint32_t>(8) + raw(huge);
  EXPECT_NE(refusal(Parts{.metadata = many, .num_keys = 1}).find("don't fit"), std::string::npos);
  const std::string key = text("k") + raw<std::uint32_t>(0) + "\1";
  EXPECT_NE(refusal(Parts{.metadata = key + key, .num_keys = 2}).find("occurs twice"), std::string::npos);
  const std::string alignment = text("general.alignment") + raw<std::uint32_t>(4) + raw<std::uint32_t>(3);
  EXPECT_NE(refusal(Parts{.metadata = alignment, .num_keys = 1}).find("general.alignment is 3"), std::string::npos);
}

TEST(Gguf, IsRefusedWithTensorsOutsideTheDataOrOverOneAnother) {
  const std::string data(64, '\0');
  EXPECT_EQ(refusal(Parts{.tensors = {{}, {.name = "v", .offset = 32}}, .data = data}), "accepted");
  EXPECT_NE(refusal(Parts{.tensors = {{}, {.name = "v"}}, .data = data}).find("overlaps"), std::string::npos);
  EXPECT_NE(refusal(Parts{.tensors = {{}, {.offset = 32}}, .data = data}).find("occurs twice"), std::string::npos);
  EXPECT_NE(refusal(Parts{.tensors = {{.offset = 64}}, .data = data}).find("truncated"), std::string::npos);
  EXPECT_NE(refusal(Parts{.tensors = {{.offset = 7}}, .data = data}).find("no multiple"), std::string::npos);
  EXPECT_NE(refusal(Parts{.tensors = {{.offset = ~std::uint64_t{31}}}, .data = data}).find("truncated"),
            std::string::npos);
}

TEST(Gguf, SurvivesCutAndFlippedFiles) {
  Parts parts;
  parts.metadata = text("a.list") + raw<std::uint32_t>(9) + raw<std::uint32_t>(8) + raw<std::uint64_t>(1) + text("x");
  parts.num_keys = 1;
  const std::string whole = parts.file();
  for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_NE(refusal(whole.substr(0, size)), "accepted");
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = whole;
      changed[i] = static_cast<char>(changed[i] ^ 1 << bit);
      try {
        parse(changed);
      } catch (const Error&) {
      }
    }
  }
}

TEST(GgufTypes, ScaleDigitsAsTheyLie) {
  // Q4_0: scale 2 (f16 0x4000), digits 0..15 low and 15..0 high.
  std::string block = std::string("\x00\x40", 2);
  for (int i = 0; i < 16; ++i) block += static_cast<char>(i | (15 - i) << 4);
  float out[32];
  find_gguf_type(2)->to_float(std::as_bytes(std::span(block)).data(), 1, out);
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(out[i], 2.0f * static_cast<float>(i - 8));
    EXPECT_EQ(out[16 + i], 2.0f * static_cast<float>(7 - i));
  }
  EXPECT_EQ(find_gguf_type(99), nullptr);
}

}  // namespace
}  // namespace mobula::nn
