#include "mobula/models/generation_config.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "mobula/base/error.hpp"
#include "mobula/models/config_reader.hpp"
#include "mobula/nn/checkpoint.hpp"

namespace mobula::models {
namespace {

// Any finite number: SamplingOptions knows the ranges.
double read_number(const ConfigReader& reader, std::string_view key, double fallback) {
  constexpr double kMost = 1e30;
  return reader.number(key, fallback, -kMost, kMost);
}

nn::SamplingDefaults read_defaults(const ConfigReader& reader) {
  nn::SamplingDefaults defaults;
  nn::SamplingOptions& sampling = defaults.sampling;
  sampling.temperature = read_number(reader, "temperature", sampling.temperature);
  sampling.top_p = read_number(reader, "top_p", sampling.top_p);
  sampling.min_p = read_number(reader, "min_p", sampling.min_p);
  sampling.typical_p = read_number(reader, "typical_p", sampling.typical_p);
  sampling.repetition_penalty = read_number(reader, "repetition_penalty", sampling.repetition_penalty);
  // -1 is how vLLM spells "all", 0 how transformers does.
  sampling.top_k = static_cast<std::size_t>(std::max<std::int64_t>(0, reader.integer("top_k", 0, -1)));
  sampling.no_repeat_ngram = static_cast<std::size_t>(reader.integer("no_repeat_ngram_size", 0, 0));
  if (reader.has("max_new_tokens")) {
    defaults.max_tokens = static_cast<std::size_t>(reader.integer("max_new_tokens", 1));
  }
  try {
    sampling.validate();
  } catch (const Error& error) {
    throw_invalid(fmt::format("config.json: {}", error.message()));
  }
  if (!reader.boolean("do_sample", true)) sampling.temperature = 0;
  return defaults;
}

}  // namespace

Json load_generation_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "generation_config.json";
  if (!std::filesystem::exists(path)) return Json::object();
  return nn::read_json_file(path);
}

nn::SamplingDefaults read_sampling_defaults(const std::filesystem::path& path) {
  const Json config = nn::read_json_file(path);
  return naming_config(path, [&] { return read_defaults(ConfigReader(config)); });
}

}  // namespace mobula::models
