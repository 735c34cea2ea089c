#include "mobula/models/decoder/families.hpp"

#include <fmt/format.h>

#include <map>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/models/bloom/config.hpp"
#include "mobula/models/config_reader.hpp"
#include "mobula/models/decoder/experts.hpp"
#include "mobula/models/gemma2/config.hpp"
#include "mobula/models/gemma3_text/config.hpp"
#include "mobula/models/gpt2/config.hpp"
#include "mobula/models/gpt_neox/config.hpp"
#include "mobula/models/gptj/config.hpp"
#include "mobula/models/llama/config.hpp"
#include "mobula/models/mistral/config.hpp"
#include "mobula/models/mixtral/config.hpp"
#include "mobula/models/opt/config.hpp"
#include "mobula/models/phi3/config.hpp"
#include "mobula/models/qwen2/config.hpp"
#include "mobula/models/qwen2_moe/config.hpp"
#include "mobula/models/qwen3/config.hpp"
#include "mobula/models/qwen3_moe/config.hpp"

namespace mobula::models {
namespace {

const std::map<std::string, DecoderFamily>& families() {
  static const std::map<std::string, DecoderFamily> all = {
      {"gpt2", {read_gpt2_config, "transformer.", {".attn.bias", ".attn.masked_bias"}}},
      {"bloom", {read_bloom_config, "transformer.", {}}},
      {"gemma2", {read_gemma2_config, "model.", {".rotary_emb.inv_freq"}}},
      {"gemma3_text", {read_gemma3_text_config, "model.", {".rotary_emb.inv_freq"}}},
      {"gpt_neox",
       {read_gpt_neox_config, "gpt_neox.", {".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"}}},
      {"gptj", {read_gptj_config, "transformer.", {".attn.bias", ".attn.masked_bias"}}},
      {"llama", {read_llama_config, "model.", {".rotary_emb.inv_freq"}}},
      {"mistral", {read_mistral_config, "model.", {".rotary_emb.inv_freq"}}},
      {"mixtral", {read_mixtral_config, "model.", {".rotary_emb.inv_freq"}, find_expert_parts}},
      {"opt", {read_opt_config, "model.", {}}},
      {"phi3", {read_phi3_config, "model.", {".rotary_emb.inv_freq"}}},
      {"qwen2", {read_qwen2_config, "model.", {".rotary_emb.inv_freq"}}},
      {"qwen2_moe", {read_qwen2_moe_config, "model.", {".rotary_emb.inv_freq"}, find_expert_parts}},
      {"qwen3", {read_qwen3_config, "model.", {".rotary_emb.inv_freq"}}},
      {"qwen3_moe", {read_qwen3_moe_config, "model.", {".rotary_emb.inv_freq"}, find_expert_parts}},
  };
  return all;
}

}  // namespace

const DecoderFamily& find_decoder_family(const Json& config) {
  const std::string family = ConfigReader(config).text("model_type", "");
  if (family.empty()) {
    throw_invalid("config.json: model_type is missing", "the model's family, such as 'llama' or 'gpt2'");
  }
  const auto found = families().find(family);
  if (found == families().end()) {
    throw Error(ErrorCode::unsupported,
                fmt::format("config.json: model_type '{}' is no causal language model we know", family),
                suggest(family, causal_lm_families()));
  }
  return found->second;
}

std::vector<std::string> causal_lm_families() {
  std::vector<std::string> names;
  for (const auto& [name, family] : families()) names.push_back(name);
  return names;
}

}  // namespace mobula::models
