// config.json in its old and new spelling, and what is refused in it.
#include <gtest/gtest.h>

#include <string>

#include "mobula/base/testing/refusal.hpp"
#include "mobula/models/gemma3_text/config.hpp"
#include "mobula/models/gpt_neox/config.hpp"
#include "mobula/models/gptj/config.hpp"
#include "mobula/models/llama/config.hpp"
#include "mobula/models/mistral/config.hpp"
#include "mobula/models/mixtral/config.hpp"
#include "mobula/models/phi3/config.hpp"
#include "mobula/models/qwen2/config.hpp"
#include "mobula/models/registry.hpp"

namespace mobula::models {
namespace {

Json sized(const Json& more) {
  Json config = {{"hidden_size", 24},
                 {"num_attention_heads", 4},
                 {"num_key_value_heads", 4},
                 {"num_hidden_layers", 3},
                 {"vocab_size", 11}};
  config.update(more);
  return config;
}

void expect_same(const nn::RotaryOptions& a, const nn::RotaryOptions& b) {
  EXPECT_EQ(a.scaling, b.scaling);
  EXPECT_EQ(a.theta, b.theta);
  EXPECT_EQ(a.dim, b.dim);
  EXPECT_EQ(a.factor, b.factor);
  EXPECT_EQ(a.original_positions, b.original_positions);
  EXPECT_EQ(a.magnitude, b.magnitude);
}

TEST(DecoderConfig, ReadsRotarySettingsInBothSpellings) {
  const auto both = [](const Json& old_spelling, const Json& new_spelling) {
    const DecoderConfig a = read_llama_config(sized(old_spelling)), b = read_llama_config(sized(new_spelling));
    expect_same(a.rotary[0], b.rotary[0]);
    EXPECT_EQ(a.context, b.context);
    return a;
  };
  EXPECT_EQ(both({{"rope_theta", 500000.0}}, {{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 5e5}}}})
                .rotary[0]
                .theta,
            500000.0);
  const DecoderConfig linear = both(
      {{"rope_theta", 1e4}, {"max_position_embeddings", 64}, {"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}},
      {{"max_position_embeddings", 64},
       {"rope_parameters", {{"rope_type", "linear"}, {"factor", 2.0}, {"rope_theta", 1e4}}}});
  EXPECT_EQ(linear.rotary[0].scaling, nn::RotaryScaling::linear);
  EXPECT_EQ(linear.context, 128);
  const Json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 32}};
  Json with_theta = llama3;
  with_theta["rope_theta"] = 3e5;
  EXPECT_EQ(both({{"rope_theta", 3e5}, {"rope_scaling", llama3}}, {{"rope_parameters", with_theta}})
                .rotary[0]
                .original_positions,
            32);
}

TEST(DecoderConfig, ReadsGemma3RotarySettingsByLayerTypeInBothSpellings) {
  const Json old_spelling = {
      {"rope_theta", 2e6}, {"rope_local_base_freq", 5e3}, {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}}};
  const Json new_spelling = {{"rope_parameters",
                              {{"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 2e6}}},
                               {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 5e3}}}}}};
  const DecoderConfig a = read_gemma3_text_config(sized(old_spelling)),
                      b = read_gemma3_text_config(sized(new_spelling));
  expect_same(a.rotary[0], b.rotary[0]);
  expect_same(a.rotary[1], b.rotary[1]);
  EXPECT_EQ(a.rotary[0].theta, 2e6);
  EXPECT_EQ(a.rotary[1].theta, 5e3);
  EXPECT_EQ(a.rotary[1].scaling, nn::RotaryScaling::none);
}

TEST(DecoderConfig, ReadsOldKeysOfGptNeoxAndPhi3) {
  const DecoderConfig neox =
      read_gpt_neox_config(sized({{"rotary_pct", 1.0}, {"rotary_emb_base", 777}, {"torch_dtype", "float16"}}));
  EXPECT_EQ(neox.rotary[0].dim, 6);
  EXPECT_EQ(neox.rotary[0].theta, 777.0);
  const Json divisors = {1.0, 2.0, 3.0};
  const DecoderConfig phi3 = read_phi3_config(
      sized({{"max_position_embeddings", 64},
             {"original_max_position_embeddings", 16},
             {"rope_scaling", {{"type", "su"}, {"short_factor", divisors}, {"long_factor", divisors}}}}));
  EXPECT_EQ(phi3.rotary[0].scaling, nn::RotaryScaling::longrope);
  EXPECT_EQ(phi3.rotary[0].original_positions, 16);
}

TEST(DecoderConfig, TakesWindowsFromLayerTypesOrTheOldKeys) {
  const DecoderConfig by_types =
      read_qwen2_config(sized({{"use_sliding_window", true},
                               {"sliding_window", 7},
                               {"layer_types", {"full_attention", "sliding_attention", "full_attention"}}}));
  EXPECT_EQ(by_types.layers[0].window, 0);
  EXPECT_EQ(by_types.layers[1].window, 7);
  const DecoderConfig by_number =
      read_qwen2_config(sized({{"use_sliding_window", true}, {"sliding_window", 7}, {"max_window_layers", 2}}));
  EXPECT_EQ(by_number.layers[1].window, 0);
  EXPECT_EQ(by_number.layers[2].window, 7);
  EXPECT_EQ(read_mistral_config(sized({{"num_key_value_heads", 2}})).layers[0].window, 4096);
  EXPECT_EQ(read_mistral_config(sized({{"num_key_value_heads", 2}, {"sliding_window", nullptr}})).layers[0].window, 0);
}

TEST(DecoderConfig, WritesBackWhatItReadWithDefaultsFilledIn) {
  const Json written = read_llama_config(sized({{"unheard_of", 5}, {"rope_theta", 77.0}})).source;
  EXPECT_EQ(written["unheard_of"], 5);
  EXPECT_EQ(written["rope_theta"], 77.0);
  EXPECT_EQ(written["num_key_value_heads"], 4);
  EXPECT_EQ(written["architectures"][0], "LlamaForCausalLM");
  EXPECT_EQ(written["eos_token_id"], 2);
}

TEST(DecoderConfig, IsRefusedNamingTheKey) {
  const auto llama = [](const Json& more) { return refusal([&] { read_llama_config(sized(more)); }); };
  EXPECT_EQ(llama(Json::object()), "accepted");
  EXPECT_NE(llama({{"num_key_value_heads", 3}}).find("num_key_value_heads"), std::string::npos);
  EXPECT_NE(llama({{"head_dim", 5}}).find("rotary"), std::string::npos);
  EXPECT_NE(llama({{"hidden_size", 25}}).find("hidden_size"), std::string::npos);
  EXPECT_NE(llama({{"rms_norm_eps", "tiny"}}).find("rms_norm_eps"), std::string::npos);
  EXPECT_NE(llama({{"rope_scaling", {{"type", "spiral"}}}}).find("spiral"), std::string::npos);
  EXPECT_NE(llama({{"rope_scaling", {{"type", "linear"}}}}).find("factor"), std::string::npos);
  EXPECT_NE(llama({{"rope_scaling", {{"type", "linear"}, {"factor", "x"}}}}).find("rope_scaling.factor"),
            std::string::npos);
  const auto gptj = [](const Json& more) { return refusal([&] { read_gptj_config(sized(more)); }); };
  EXPECT_EQ(gptj({{"rotary_dim", 6}}), "accepted");
  EXPECT_NE(gptj({{"rotary_dim", 5}}).find("rotary_dim"), std::string::npos);
  EXPECT_NE(gptj(Json::object()).find("rotary_dim is 64"), std::string::npos);  // GPT-J's own, too many here
  const auto qwen = [](const Json& more) { return refusal([&] { read_qwen2_config(sized(more)); }); };
  EXPECT_NE(qwen({{"num_key_value_heads", 4}, {"layer_types", {"full_attention"}}}).find("layer_types"),
            std::string::npos);
  const auto mixtral = [](const Json& more) { return refusal([&] { read_mixtral_config(sized(more)); }); };
  EXPECT_NE(mixtral({{"num_key_value_heads", 4}, {"num_local_experts", 2}, {"num_experts_per_tok", 3}})
                .find("num_experts_per_tok"),
            std::string::npos);
  EXPECT_NE(refusal([] { make_causal_lm({{"model_type", "lama"}}, 1); }).find("lama"), std::string::npos);
}

}  // namespace
}  // namespace mobula::models
