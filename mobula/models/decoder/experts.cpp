#include "mobula/models/decoder/experts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "mobula/base/error.hpp"

namespace mobula::models {

void read_experts(CompletedConfig& completed, DecoderConfig& config, const ExpertsDefaults& defaults) {
  completed.adopt(defaults.num_key, defaults.num_key == "num_experts" ? "num_local_experts" : "num_experts");
  ExpertsConfig& experts = config.experts;
  experts.num_experts = completed.integer(defaults.num_key, defaults.num_experts, 1, 1 << 16);
  experts.num_chosen = completed.integer("num_experts_per_tok", defaults.num_chosen, 1, 1 << 16);
  if (experts.num_chosen > experts.num_experts) {
    throw_invalid(fmt::format("config.json: num_experts_per_tok is {}, but there are only {} experts",
                              experts.num_chosen, experts.num_experts));
  }
  if (defaults.inner > 0) experts.inner = completed.integer("moe_intermediate_size", defaults.inner, 1, 1 << 22);
}

void read_sparse_layers(CompletedConfig& completed, DecoderConfig& config) {
  const std::int64_t step = completed.integer("decoder_sparse_step", 1, 1, 4096);
  const std::vector<double> plain = completed.reader().numbers("mlp_only_layers");
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    const bool excepted = std::find(plain.begin(), plain.end(), static_cast<double>(i)) != plain.end();
    config.layers[i].has_experts = !excepted && (static_cast<std::int64_t>(i) + 1) % step == 0;
  }
}

std::vector<nn::StoredPart> find_expert_parts(const std::string& name) {
  constexpr std::string_view kOldBlock = ".block_sparse_moe.";
  constexpr std::string_view kExperts = ".experts.";
  std::string here = name;
  std::vector<nn::StoredPart> parts;
  if (const auto old = here.find(kOldBlock); old != std::string::npos) {
    here.replace(old, kOldBlock.size(), ".mlp.");
    parts.push_back({.name = here});
  }
  const auto experts = here.find(kExperts);
  if (experts == std::string::npos) return parts;
  const char* begin = here.data() + experts + kExperts.size();
  std::int64_t index = 0;
  const auto [end, problem] = std::from_chars(begin, here.data() + here.size(), index);
  if (problem != std::errc()) return parts;
  const std::string_view matrix(end);  // ".w1.weight"
  const std::string all = here.substr(0, experts + kExperts.size());
  if (matrix == ".w1.weight" || matrix == ".gate_proj.weight") {
    parts.push_back({.name = all + "gate_up_proj", .index = index, .part = 0, .num_parts = 2});
  } else if (matrix == ".w3.weight" || matrix == ".up_proj.weight") {
    parts.push_back({.name = all + "gate_up_proj", .index = index, .part = 1, .num_parts = 2});
  } else if (matrix == ".w2.weight" || matrix == ".down_proj.weight") {
    parts.push_back({.name = all + "down_proj", .index = index});
  }
  return parts;
}

}  // namespace mobula::models
