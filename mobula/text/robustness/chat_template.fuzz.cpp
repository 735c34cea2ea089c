// Chat templates: parsed and rendered.
#include "mobula/text/chat_template.hpp"
#include "mobula/base/testing/fuzz.hpp"
#include "mobula/text/testing/samples.hpp"

using namespace mobula;
using namespace mobula::text;
using namespace mobula::text::testing_samples;

extern "C" int LLVMFuzzerInitialize(int* num_arguments, char*** arguments) {
  return seed_corpus(*num_arguments, *arguments, templates());
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Json context = template_context();
  return expect_error_or_answer([&] { ChatTemplate::parse(fuzz_text(data, size), "fuzzed").render(context); });
}
