// GGUF files: the header, every byte that it says is a tensor's, and the config.json that its keys make.
#include "mobula/base/files.hpp"
#include "mobula/base/testing/fuzz.hpp"
#include "mobula/models/gguf/checkpoint.hpp"
#include "mobula/nn/testing/read_all.hpp"
#include "mobula/nn/testing/sample_files.hpp"

using namespace mobula;
using namespace mobula::nn::testing_samples;

extern "C" int LLVMFuzzerInitialize(int* num_arguments, char*** arguments) {
  return seed_corpus(*num_arguments, *arguments, {gguf_sample()});
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const TemporaryDirectory folder("fuzz-gguf");
  const auto path = folder.path() / "x.gguf";
  std::ofstream(path, std::ios::binary) << fuzz_text(data, size);
  return expect_error_or_answer([&] {
    const auto file = std::make_shared<const nn::GgufFile>(path);
    read_all(*file);
    read_all(*models::read_gguf_checkpoint(file).tensors);
  });
}
