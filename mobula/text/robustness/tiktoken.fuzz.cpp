// The rank files of tiktoken.
#include "mobula/base/files.hpp"
#include "mobula/base/testing/fuzz.hpp"
#include "mobula/text/testing/samples.hpp"

using namespace mobula;
using namespace mobula::text;
using namespace mobula::text::testing_samples;

extern "C" int LLVMFuzzerInitialize(int* num_arguments, char*** arguments) {
  return seed_corpus(*num_arguments, *arguments, {tiktoken_ranks()});
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const TemporaryDirectory folder("fuzz-tiktoken");
  const auto path = folder.path() / "x.tiktoken";
  std::ofstream(path, std::ios::binary) << fuzz_text(data, size);
  return expect_error_or_answer([&] { try_out(*load_tiktoken(path, {"cl100k", {}})); });
}
