// safetensors files: the header, and every byte that it says is a tensor's.
#include "mobula/nn/safetensors.hpp"

#include "mobula/base/files.hpp"
#include "mobula/base/testing/fuzz.hpp"
#include "mobula/nn/testing/read_all.hpp"
#include "mobula/nn/testing/sample_files.hpp"

using namespace mobula;
using namespace mobula::nn;
using namespace mobula::nn::testing_samples;

extern "C" int LLVMFuzzerInitialize(int* num_arguments, char*** arguments) {
  return seed_corpus(*num_arguments, *arguments, {safetensors_sample()});
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const TemporaryDirectory folder("fuzz-safetensors");
  const auto path = folder.path() / "x.safetensors";
  std::ofstream(path, std::ios::binary) << fuzz_text(data, size);
  return expect_error_or_answer([&] { read_all(SafetensorsFile(path)); });
}
