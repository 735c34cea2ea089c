#include "mobula/text/reference/python_reference.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"

namespace mobula::text {

bool without_python() {
  const char* without = std::getenv("MOBULA_TEST_WITHOUT");
  if (without == nullptr || std::string(without).find("python") == std::string::npos) return false;
  std::puts("left out: MOBULA_TEST_WITHOUT names python");
  return true;
}

std::vector<Json> run_reference(const std::string& script, const std::vector<std::string>& arguments) {
  const char* chosen = std::getenv("MOBULA_PYTHON");
  const std::string python = chosen != nullptr ? chosen : MOBULA_TEST_PYTHON;
  const TemporaryDirectory folder("reference");
  const std::filesystem::path output = folder.path() / "output";
  const std::filesystem::path errors = folder.path() / "errors";
  std::string command = fmt::format("'{}' '{}/reference/{}'", python, MOBULA_TEST_TEXT_SOURCE, script);
  for (const std::string& argument : arguments) command += fmt::format(" '{}'", argument);
  command += fmt::format(" > '{}' 2> '{}'", output.string(), errors.string());
  if (std::system(command.c_str()) != 0) {
    throw Error(
        ErrorCode::unavailable,
        fmt::format("{} failed:\n{}", script, std::filesystem::exists(errors) ? read_file(errors) : ""),
        "./dev test installs Python with tokenizers and transformers; MOBULA_TEST_WITHOUT=python leaves this out");
  }
  std::vector<Json> lines;
  const std::string text = read_file(output);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(parse_json(std::string_view(text).substr(at, end - at), script, {.max_depth = 256}));
    at = end + 1;
  }
  return lines;
}

}  // namespace mobula::text
