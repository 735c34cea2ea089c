// What torch.save wrote: the archive, its pickle and every byte that they say is a tensor's.
#include "mobula/nn/pytorch_file.hpp"

#include "mobula/base/files.hpp"
#include "mobula/base/testing/fuzz.hpp"
#include "mobula/nn/testing/read_all.hpp"
#include "mobula/nn/testing/sample_files.hpp"

using namespace mobula;
using namespace mobula::nn;
using namespace mobula::nn::testing_samples;

extern "C" int LLVMFuzzerInitialize(int* num_arguments, char*** arguments) {
  return seed_corpus(*num_arguments, *arguments, {pytorch_sample()});
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const TemporaryDirectory folder("fuzz-pytorch");
  const auto path = folder.path() / "x.bin";
  std::ofstream(path, std::ios::binary) << fuzz_text(data, size);
  return expect_error_or_answer([&] { read_all(PytorchFile(path)); });
}
