// Zip archives: the directory, and every byte that it says is a file's.
#include "mobula/nn/zip_archive.hpp"

#include <span>

#include "mobula/base/testing/fuzz.hpp"
#include "mobula/nn/testing/sample_files.hpp"

using namespace mobula;
using namespace mobula::nn;
using namespace mobula::nn::testing_samples;

extern "C" int LLVMFuzzerInitialize(int* num_arguments, char*** arguments) {
  return seed_corpus(*num_arguments, *arguments, {pytorch_sample()});
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static volatile unsigned sum = 0;
  return expect_error_or_answer([&] {
    const ZipArchive archive(std::as_bytes(std::span(data, size)), "fuzzed");
    for (const auto& [name, bytes] : archive.files()) {
      for (const std::byte byte : bytes) sum = sum + static_cast<unsigned>(byte);
    }
  });
}
