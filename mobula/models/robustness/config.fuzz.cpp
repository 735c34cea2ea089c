// config.json of every family: read, with the angles that its rotary embeddings turn by, or refused.
#include <functional>
#include <map>

#include "mobula/base/testing/fuzz.hpp"
#include "mobula/models/bert/config.hpp"
#include "mobula/models/bloom/config.hpp"
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
#include "mobula/models/quantization_config.hpp"
#include "mobula/models/qwen2/config.hpp"
#include "mobula/models/qwen2_moe/config.hpp"
#include "mobula/models/qwen3/config.hpp"
#include "mobula/models/qwen3_moe/config.hpp"
#include "mobula/models/roberta/config.hpp"
#include "mobula/models/t5/config.hpp"
#include "mobula/models/vit/config.hpp"

using namespace mobula;
using namespace mobula::models;

namespace {

// What all families' keys together say, each family's defaults where they say nothing.
constexpr const char* kKeys =
    R"("vocab_size":11,"hidden_size":8,"intermediate_size":12,"num_hidden_layers":2,"num_attention_heads":2,)"
    R"("num_key_value_heads":2,"head_dim":4,"max_position_embeddings":16,"rms_norm_eps":1e-5,"hidden_act":"silu",)"
    R"("sliding_window":4,"tie_word_embeddings":true,"eos_token_id":[1,2],"num_labels":3,"id2label":{"0":"a","1":"b"})";

template <DecoderConfig (*read)(const Json&)>
void decoder(const Json& json) {
  const DecoderConfig config = read(json);
  for (const nn::RotaryOptions& options : config.rotary) {
    if (options.dim > 1024) continue;
    nn::check_rotary(options);
    (void)nn::rotary_frequencies(options, 1);
    (void)nn::rotary_frequencies(options, config.context);
  }
}

template <class Config>
void other(const Json& json) {
  (void)Config::from_json(json);
}

const std::map<std::string, std::function<void(const Json&)>> kFamilies = {
    {"bert", [](const Json& json) { (void)read_bert_config(json); }},
    {"bloom", decoder<read_bloom_config>},
    {"gemma2", decoder<read_gemma2_config>},
    {"gemma3_text", decoder<read_gemma3_text_config>},
    {"gpt2", other<Gpt2Config>},
    {"gpt_neox", decoder<read_gpt_neox_config>},
    {"gptj", decoder<read_gptj_config>},
    {"llama", decoder<read_llama_config>},
    {"mistral", decoder<read_mistral_config>},
    {"mixtral", decoder<read_mixtral_config>},
    {"opt", decoder<read_opt_config>},
    {"phi3", decoder<read_phi3_config>},
    {"qwen2", decoder<read_qwen2_config>},
    {"qwen2_moe", decoder<read_qwen2_moe_config>},
    {"qwen3", decoder<read_qwen3_config>},
    {"qwen3_moe", decoder<read_qwen3_moe_config>},
    {"roberta", [](const Json& json) { (void)read_roberta_config(json); }},
    {"t5", other<T5Config>},
    {"vit", other<VitConfig>},
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* num_arguments, char*** arguments) {
  std::vector<std::string> samples;
  for (const auto& [family, read] : kFamilies) {
    samples.push_back(fmt::format(R"({{"model_type":"{}",{}}})", family, kKeys));
  }
  for (
      const char* scaling :
      {R"({"rope_type":"linear","factor":2.0})", R"({"type":"dynamic","factor":4.0})",
       R"({"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":20})",
       R"({"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":24,"beta_fast":8,"mscale":0.7,"mscale_all_dim":1.1})",
       R"({"rope_type":"longrope","short_factor":[1.0,1.5],"long_factor":[2.0,3.0],"original_max_position_embeddings":8})"}) {
    for (const char* family : {"llama", "phi3"}) {
      samples.push_back(fmt::format(R"({{"model_type":"{}",{},"rope_scaling":{}}})", family, kKeys, scaling));
    }
  }
  for (const char* experts :
       {R"("num_local_experts":2,"num_experts_per_tok":1)",
        R"("num_experts":2,"num_experts_per_tok":1,"moe_intermediate_size":3,"mlp_only_layers":[1])"}) {
    for (const char* family : {"mixtral", "qwen2_moe", "qwen3_moe"}) {
      samples.push_back(fmt::format(R"({{"model_type":"{}",{},{}}})", family, kKeys, experts));
    }
  }
  return seed_corpus(*num_arguments, *arguments, samples);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return expect_error_or_answer([&] {
    const Json config = parse_json(fuzz_text(data, size), "config.json");
    check_quantization(config);
    const auto found = kFamilies.find(ConfigReader(config).text("model_type", ""));
    if (found != kFamilies.end()) found->second(config);
  });
}
