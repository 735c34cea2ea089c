// Damaged and hostile files: each is refused with an Error or read within its bounds, never a crash. Drawn afresh at each
// run from a printed seed; with AddressSanitizer and UndefinedBehaviorSanitizer (./dev test --preset asan) reads outside of
// the file show too.
#include <ATen/ops/randn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/random.hpp"
#include "mobula/base/testing/seed.hpp"
#include "mobula/nn/adapters/merge_adapter.hpp"
#include "mobula/nn/checkpoint.hpp"
#include "mobula/nn/gguf_file.hpp"
#include "mobula/nn/pytorch_file.hpp"
#include "mobula/nn/quantized_matrix.hpp"
#include "mobula/nn/safetensors.hpp"
#include "mobula/nn/safetensors_writer.hpp"
#include "mobula/nn/tensor_array.hpp"
#include "mobula/nn/testing/read_all.hpp"
#include "mobula/nn/testing/sample_files.hpp"

namespace mobula::nn {
namespace {

using namespace testing_samples;

void write(const std::filesystem::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

// Changes a file as accidents and enemies do: bits, bytes, runs cut out, doubled or filled, lengths made huge, the end gone.
std::string mutated(const std::string& original, Random& random) {
  std::string file = original;
  const std::uint64_t changes = 1 + random.below(4);
  for (std::uint64_t c = 0; c < changes && !file.empty(); ++c) {
    const std::size_t at =
        random.below(2) == 0 ? random.below(file.size()) : random.below(std::min<std::size_t>(file.size(), 600));
    const std::size_t run = std::min<std::size_t>(file.size() - at, 1 + random.below(16));
    switch (random.below(8)) {
      case 0:
        file[at] = static_cast<char>(file[at] ^ (1 << random.below(8)));
        break;
      case 1:
        file[at] = static_cast<char>(random.below(256));
        break;
      case 2:
        file.erase(at, run);
        break;
      case 3:
        file.insert(at, file.substr(at, run));
        break;
      case 4:
        std::fill_n(file.begin() + static_cast<std::ptrdiff_t>(at), run, '\xFF');
        break;
      case 5:
        std::fill_n(file.begin() + static_cast<std::ptrdiff_t>(at), run, '\0');
        break;
      case 6:
        file.resize(at);
        break;
      default:
        // A digit of a number in text, or its neighbour: sizes and offsets that nearly fit.
        if (const std::size_t digit = file.find_first_of("0123456789", at); digit != std::string::npos) {
          file[digit] = static_cast<char>('0' + random.below(10));
        }
    }
  }
  return file;
}

// Mutates `original` many times; whatever `read` throws must be an Error that says something.
void survive(const std::string& original, const std::filesystem::path& path, int rounds,
             const std::function<void(const std::filesystem::path&)>& read) {
  const std::uint64_t seed = drawn_seed();
  int refused = 0;
  for (int round = 0; round < rounds; ++round) {
    Random random(seed + static_cast<std::uint64_t>(round));
    write(path, mutated(original, random));
    try {
      read(path);
    } catch (const Error& error) {
      ++refused;
      EXPECT_FALSE(error.message().empty());
      EXPECT_LT(error.message().size(), 4000u) << "round " << round;
    } catch (const std::exception& error) {
      ADD_FAILURE() << "round " << round << ": no Error of ours: " << std::string(error.what()).substr(0, 400);
    }
  }
  EXPECT_GT(refused, rounds / 4);
}

TEST(HostileSafetensors, AreRefusedWithAReasonEach) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "x.safetensors";
  const auto refuses = [&](const std::string& content, const std::string& what) {
    write(path, content);
    try {
      read_all(SafetensorsFile(path));
      ADD_FAILURE() << "accepted: " << what;
    } catch (const Error& error) {
      EXPECT_NE(error.message().find("x.safetensors"), std::string::npos) << error.message();
      EXPECT_LT(error.message().size(), 1000u);
    }
  };
  const auto tensor = [](const std::string& shape, const std::string& offsets, const std::string& type = "F32") {
    return R"({"dtype":")" + type + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
  };
  for (const std::size_t length : {0, 1, 7, 8}) refuses(std::string(length, '\0'), "shorter than a header");
  for (const std::uint64_t length :
       {std::uint64_t{1} << 20, std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{7}}) {
    std::string file;
    append(file, length, 8);  // would wrap around when added to where it starts
    refuses(file + "{}", "a header longer than the file");
  }
  refuses(safetensors(R"({"a":)" + tensor("[4]", "[0,16]") + R"(,"b":)" + tensor("[4]", "[8,24]") + "}", 24),
          "overlap");
  refuses(safetensors(R"({"a":)" + tensor("[4]", "[0,16]") + R"(,"b":)" + tensor("[4]", "[20,36]") + "}", 36),
          "a hole");
  refuses(safetensors(R"({"a":)" + tensor("[4]", "[0,16]") + "}", 20), "bytes that belong to nobody");
  refuses(safetensors(R"({"a":)" + tensor("[4]", "[0,16]") + "}", 12), "bytes that aren't there");
  refuses(safetensors(R"({"a":)" + tensor("[4]", "[16,0]") + "}", 16), "an end before the beginning");
  refuses(safetensors(R"({"a":)" + tensor("[4611686018427387905]", "[0,4]") + "}", 4), "a shape that wraps around");
  refuses(safetensors(R"({"a":)" + tensor("[4294967296,4294967296]", "[0,0]") + "}", 0), "a product that wraps around");
  refuses(safetensors(R"({"a":)" + tensor("[-4]", "[0,16]") + "}", 16), "a negative size");
  refuses(safetensors(R"({"a":)" + tensor("[4.5]", "[0,18]") + "}", 18), "half a number");
  refuses(safetensors(R"({"a":)" + tensor("[4]", "[0,18446744073709551616]") + "}", 16), "an offset over 64 bits");
  refuses(safetensors(R"({"a":)" + tensor("[4]", "[0,16]", "F33") + "}", 16), "an unknown type");
  refuses(safetensors(R"({"a":)" + tensor("[4]", "[0,16]") + R"(,"a":)" + tensor("[4]", "[16,32]") + "}", 32),
          "one name twice");
  refuses(safetensors(R"({"a":{"dtype":"F32","shape":[4]}})", 16), "no offsets");
  refuses(safetensors(R"([1,2])", 0), "no object");
  refuses(safetensors(R"({"a":1})", 0), "a tensor that is a number");
  refuses(safetensors("{\"a\xff\":" + tensor("[4]", "[0,16]") + "}", 16), "invalid UTF-8");
  refuses(safetensors(R"({"__metadata__":{"k":[1]}})", 0), "metadata that is no text");
  refuses(safetensors(std::string(100000, '['), 0), "nested too deeply");
  refuses(safetensors(R"({"a":)" + tensor("[" + std::string(5000, '1') + "]", "[0,4]") + "}", 4), "a long number");
}

TEST(HostileSafetensors, HeadersOf100MegabytesAreRefusedOrReadInGoodTime) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "x.safetensors";
  // Blanks, and a hundred megabytes of one name.
  write(path, safetensors("{" + std::string(std::size_t{100} << 20, ' ') + "}", 0));
  try {
    EXPECT_TRUE(SafetensorsFile(path).tensors().empty());
  } catch (const Error& error) {
    EXPECT_LT(error.message().size(), 1000u);
  }
  write(path, safetensors("{\"" + std::string(std::size_t{101} << 20, 'n') + "\":1}", 0));
  try {
    SafetensorsFile file(path);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_LT(error.message().size(), 1000u);
  }
}

TEST(HostileSafetensors, SurviveMutation) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "x.safetensors";
  survive(safetensors_sample(), path, 1000, [](const auto& file) { read_all(SafetensorsFile(file)); });
}

TEST(HostileSafetensors, WithQuantizedPartsSurviveMutation) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "model.safetensors";
  std::vector<NamedTensor> tensors;
  for (const auto format : {QuantizedFormat::int4, QuantizedFormat::nf4}) {
    for (const NamedArray& part : stored_tensors(fmt::format("{}.weight", to_string(format)),
                                                 quantize_matrix(to_array(at::randn({3, 64})), format))) {
      tensors.push_back({part.name, to_tensor(part.array)});
    }
  }
  write_safetensors(path, tensors);
  survive(read_file(path), path, 700, [](const auto& file) {
    const CheckpointTensors checkpoint(file.parent_path());
    for (const std::string& name : checkpoint.names()) (void)checkpoint.tensor(name);
  });
}

TEST(HostilePytorchFiles, SurviveMutation) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "x.bin";
  write(path, pytorch_sample());
  const PytorchFile sample(path);
  ASSERT_EQ(sample.tensors().size(), 1u);
  EXPECT_EQ(sample.tensors()[0].shape, (std::vector<std::int64_t>{2, 3}));
  survive(pytorch_sample(), path, 1000, [](const auto& file) { read_all(PytorchFile(file)); });
}

TEST(HostileGgufFiles, SurviveMutation) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "x.gguf";
  write(path, gguf_sample());
  const GgufFile sample(path);
  ASSERT_EQ(sample.tensors().size(), 3u);
  read_all(sample);
  survive(gguf_sample(), path, 1000, [](const auto& file) { read_all(GgufFile(file)); });
}

TEST(HostileAdapters, SurviveMutationOfBothFiles) {
  const TemporaryDirectory folder;
  const std::string config =
      R"({"peft_type":"LORA","r":2,"lora_alpha":4,"use_rslora":true,"alpha_pattern":{"q_proj":3,"^x.*$":1},"rank_pattern":{}})";
  const auto tensors = folder.path() / "adapter_model.safetensors", json = folder.path() / "adapter_config.json";
  write(json, config);
  write_safetensors(tensors, {{"base_model.model.q_proj.lora_A.weight", at::randn({2, 4})},
                              {"base_model.model.q_proj.lora_B.weight", at::randn({6, 2})}});
  const std::string good = read_file(tensors);
  const auto read = [&](const auto&) {
    const Adapter adapter = load_adapter(folder.path());
    for (const auto& [name, module] : adapter.modules) (void)merge_adapter(module, at::randn({6, 4}), false, name);
  };
  read(json);
  survive(config, json, 400, read);
  write(json, config);
  survive(good, tensors, 400, read);
}

TEST(HostileIndexes, OfShardsSurviveMutation) {
  const TemporaryDirectory folder;
  write_safetensors(folder.path() / "model-1.safetensors", {{"a", at::randn({2})}});
  write_safetensors(folder.path() / "model-2.safetensors", {{"b", at::randn({2})}});
  const auto path = folder.path() / "model.safetensors.index.json";
  survive(R"({"metadata":{"total_size":16},"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})", path,
          400, [](const auto& file) { (void)CheckpointTensors(file.parent_path()).names(); });
}

}  // namespace
}  // namespace mobula::nn
