// The .model files of sentencepiece.
#include "mobula/base/testing/fuzz.hpp"
#include "mobula/text/testing/samples.hpp"

using namespace mobula;
using namespace mobula::text;
using namespace mobula::text::testing_samples;

extern "C" int LLVMFuzzerInitialize(int* num_arguments, char*** arguments) {
  return seed_corpus(*num_arguments, *arguments, {sentencepiece_model(1), sentencepiece_model(2)});
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return expect_error_or_answer(
      [&] { try_out(*Tokenizer::parse("\n" + std::string(fuzz_text(data, size)), "fuzzed")); });
}
