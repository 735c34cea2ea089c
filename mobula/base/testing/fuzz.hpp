/// What programs of libFuzzer share. For *.fuzz.cpp, which the preset `fuzz` builds:
///
///     build-fuzz/bin/fuzz_gguf CORPUS -max_total_time=300
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "mobula/base/error.hpp"

namespace mobula {

/// Calls `use()`, which may throw an Error that says something to a user. Anything else ends the program, which libFuzzer
/// reports with the input. Returns what LLVMFuzzerTestOneInput returns.
template <class Use>
int expect_error_or_answer(Use&& use) {
  const auto fail = [](const char* what, const std::string& message) {
    std::fprintf(stderr, "%s: %.400s\n", what, message.c_str());
    std::abort();
  };
  try {
    use();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::internal) fail("an internal error", error.message());
    if (error.message().empty()) fail("an Error that says nothing", "");
    if (error.message().size() > 4000) fail("an Error as long as its input", error.message());
  } catch (const std::exception& error) {
    fail("no Error of ours", error.what());
  }
  return 0;
}

/// Writes whole samples to the first folder that the program's arguments name, so that the search begins with them.
inline int seed_corpus(int num_arguments, char** arguments, const std::vector<std::string>& samples) {
  for (int i = 1; i < num_arguments; ++i) {
    if (arguments[i][0] == '-' || std::filesystem::is_regular_file(arguments[i])) continue;
    std::filesystem::create_directories(arguments[i]);
    for (std::size_t s = 0; s < samples.size(); ++s) {
      std::ofstream(std::filesystem::path(arguments[i]) / fmt::format("sample-{}", s), std::ios::binary) << samples[s];
    }
    break;
  }
  return 0;
}

/// Returns libFuzzer's input as text.
inline std::string_view fuzz_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace mobula
