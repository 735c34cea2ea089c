// Pickles alone, without the archive's checks before them.
#include "mobula/nn/pickle.hpp"

#include <span>

#include "mobula/base/testing/fuzz.hpp"
#include "mobula/nn/testing/sample_files.hpp"

using namespace mobula;
using namespace mobula::nn;
using namespace mobula::nn::testing_samples;

extern "C" int LLVMFuzzerInitialize(int* num_arguments, char*** arguments) {
  return seed_corpus(*num_arguments, *arguments,
                     {pickle_sample(), std::string("\x80\x04\x95\x0f\0\0\0\0\0\0\0}\x94(\x8c\x01"
                                                   "a\x94]\x94(K\x01G?\xf0\0\0\0\0\0\0eu.",
                                                   35)});
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return expect_error_or_answer([&] {
    (void)read_pickle(std::as_bytes(std::span(data, size)), "fuzzed", [](std::string_view) { return true; });
  });
}
