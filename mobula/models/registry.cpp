#include "mobula/models/registry.hpp"

#include <fmt/format.h>

#include <map>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/models/config_reader.hpp"
#include "mobula/models/gpt2/model.hpp"

namespace mobula::models {
namespace {

using Factory = std::unique_ptr<nn::CausalLm> (*)(const Json& config, std::uint64_t seed);

const std::map<std::string, Factory>& factories() {
  static const std::map<std::string, Factory> all = {
      {"gpt2",
       [](const Json& config, std::uint64_t seed) -> std::unique_ptr<nn::CausalLm> {
         return std::make_unique<Gpt2>(Gpt2Config::from_json(config), seed);
       }},
  };
  return all;
}

}  // namespace

std::unique_ptr<nn::CausalLm> make_causal_lm(const Json& config, std::uint64_t seed) {
  const std::string family = ConfigReader(config).text("model_type", "");
  const auto found = factories().find(family);
  if (found == factories().end()) {
    throw Error(ErrorCode::unsupported,
                fmt::format("config.json: model_type '{}' is no causal language model we know", family),
                suggest(family, causal_lm_families()));
  }
  return found->second(config, seed);
}

std::vector<std::string> causal_lm_families() {
  std::vector<std::string> names;
  for (const auto& [name, factory] : factories()) names.push_back(name);
  return names;
}

}  // namespace mobula::models
