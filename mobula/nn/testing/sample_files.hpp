/// Small whole files of every format that checkpoints come in: what tests and fuzz targets damage. For tests.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace mobula::nn::testing_samples {

/// Appends `bytes` bytes of a number, the lowest first.
inline void append(std::string& out, std::uint64_t number, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(number >> (8 * i)));
}

/// Returns a safetensors file of that header and `data_bytes` bytes of numbers.
inline std::string safetensors(const std::string& header, std::size_t data_bytes) {
  std::string file;
  append(file, header.size(), 8);
  return file + header + std::string(data_bytes, '\1');
}

/// Returns a safetensors file of four tensors, one of them empty.
inline std::string safetensors_sample() {
  return safetensors(
      R"({"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[5,7],"data_offsets":[0,140]},)"
      R"("b.weight":{"dtype":"BF16","shape":[3],"data_offsets":[140,146]},)"
      R"("c":{"dtype":"I64","shape":[4],"data_offsets":[146,178]},)"
      R"("empty":{"dtype":"F32","shape":[0,2],"data_offsets":[178,178]}})",
      178);
}

/// Returns {"a": a tensor [2, 3]} as torch._utils rebuilds it, in torch.save's pickle.
inline std::string pickle_sample() {
  const auto text = [](const std::string& s) {
    std::string out = "X";
    append(out, s.size(), 4);
    return out + s;
  };
  // {"a": torch._utils._rebuild_tensor_v2(("storage", FloatStorage, "0", "cpu", 6), 0, (2, 3), (3, 1), False, {})}
  constexpr char kTail[] = "K\x06tQK\0K\x02K\x03\x86K\x03K\x01\x86\x89}tRs.";
  return std::string("\x80\x02}") + text("a") + "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") +
         "ctorch\nFloatStorage\n" + text("0") + text("cpu") + std::string(kTail, sizeof kTail - 1);
}

/// Returns torch.save's layout: a zip archive without compression around a pickle and its storages.
inline std::string pytorch_sample() {
  const auto crc32 = [](const std::string& bytes) {
    std::uint32_t crc = ~0u;
    for (const char c : bytes) {
      crc ^= static_cast<unsigned char>(c);
      for (int k = 0; k < 8; ++k) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0u);
    }
    return ~crc;
  };
  const std::vector<std::pair<std::string, std::string>> entries = {
      {"x/data.pkl", pickle_sample()}, {"x/data/0", std::string(24, '\1')}, {"x/version", "3\n"}};
  std::string file, directory;
  for (const auto& [name, content] : entries) {
    const std::size_t offset = file.size();
    std::string common;
    append(common, 20, 2);
    append(common, 0, 2);
    append(common, 0, 2);
    append(common, 0, 4);
    append(common, crc32(content), 4);
    append(common, content.size(), 4);
    append(common, content.size(), 4);
    append(common, name.size(), 2);
    append(common, 0, 2);
    file += "PK\3\4" + common + name + content;
    directory += "PK\1\2";
    append(directory, 20, 2);
    directory += common;
    append(directory, 0, 2);
    append(directory, 0, 2);
    append(directory, 0, 2);
    append(directory, 0, 4);
    append(directory, offset, 4);
    directory += name;
  }
  const std::size_t start = file.size();
  file += directory + "PK\5\6";
  append(file, 0, 4);
  append(file, entries.size(), 2);
  append(file, entries.size(), 2);
  append(file, directory.size(), 4);
  append(file, start, 4);
  append(file, 0, 2);
  return file;
}

/// Returns a GGUF file of three keys and three tensors, two of them quantized.
inline std::string gguf_sample() {
  std::string file = "GGUF";
  const auto text = [&](const std::string& s) {
    append(file, s.size(), 8);
    file += s;
  };
  append(file, 3, 4);
  append(file, 3, 8);  // tensors
  append(file, 3, 8);  // keys
  text("general.architecture");
  append(file, 8, 4);
  text("llama");
  text("llama.block_count");
  append(file, 4, 4);
  append(file, 2, 4);
  text("tokenizer.ggml.tokens");
  append(file, 9, 4);
  append(file, 8, 4);
  append(file, 2, 8);
  text("a");
  text("bc");
  const auto tensor = [&](const std::string& name, std::vector<std::uint64_t> shape, std::uint32_t type,
                          std::uint64_t offset) {
    text(name);
    append(file, shape.size(), 4);
    for (const std::uint64_t size : shape) append(file, size, 8);
    append(file, type, 4);
    append(file, offset, 8);
  };
  tensor("f", {3, 2}, 0, 0);
  tensor("q8", {32, 1}, 8, 32);
  tensor("q4k", {256, 1}, 12, 96);
  file.resize((file.size() + 31) / 32 * 32, '\0');
  file += std::string(96 + 144, '\2');
  return file;
}

}  // namespace mobula::nn::testing_samples
