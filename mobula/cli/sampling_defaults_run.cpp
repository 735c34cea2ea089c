#include <fmt/format.h>

#include <filesystem>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/log.hpp"
#include "mobula/cli/sampling_defaults.hpp"
#include "mobula/models/generation_config.hpp"

namespace mobula::cli {
namespace {

namespace fs = std::filesystem;

// "temperature 0.6, top_p 0.9": what differs from the plain defaults.
std::string describe(const nn::SamplingDefaults& defaults) {
  const nn::SamplingOptions plain;
  std::vector<std::string> parts;
  const auto add = [&](const char* name, auto value, auto usual) {
    if (value != usual) parts.push_back(fmt::format("{} {}", name, value));
  };
  const nn::SamplingOptions& sampling = defaults.sampling;
  add("temperature", sampling.temperature, plain.temperature);
  add("top_k", sampling.top_k, plain.top_k);
  add("top_p", sampling.top_p, plain.top_p);
  add("min_p", sampling.min_p, plain.min_p);
  add("typical_p", sampling.typical_p, plain.typical_p);
  add("repetition_penalty", sampling.repetition_penalty, plain.repetition_penalty);
  add("no_repeat_ngram_size", sampling.no_repeat_ngram, plain.no_repeat_ngram);
  add("max_new_tokens", defaults.max_tokens.value_or(0), std::size_t{0});
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace

nn::SamplingDefaults load_sampling_defaults(const std::string& model, const std::string& generation_config) {
  if (generation_config == "none") return {};
  const bool own = generation_config == "auto";
  fs::path path = own ? model : generation_config;
  if (own || fs::is_directory(path)) path /= "generation_config.json";
  if (!fs::exists(path)) {
    if (own) return {};
    throw Error(ErrorCode::not_found,
                fmt::format("--generation-config {}: no file {}", generation_config, path.string()),
                "give auto, none, or a folder that holds generation_config.json");
  }
  try {
    const nn::SamplingDefaults defaults = models::read_sampling_defaults(path);
    const std::string changes = describe(defaults);
    if (!changes.empty()) {
      log_info("unless you say otherwise: {} ({}; --generation-config none leaves them out)", changes, path.string());
    }
    return defaults;
  } catch (const Error& error) {
    throw Error(error.code(), error.message(), "correct the file, or leave it out with --generation-config none");
  }
}

}  // namespace mobula::cli
