#include "mobula/models/registry.hpp"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <map>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/models/bloom/config.hpp"
#include "mobula/models/config_reader.hpp"
#include "mobula/models/decoder/decoder_lm.hpp"
#include "mobula/models/decoder/experts.hpp"
#include "mobula/models/gemma2/config.hpp"
#include "mobula/models/gemma3_text/config.hpp"
#include "mobula/models/generation_config.hpp"
#include "mobula/models/gguf/checkpoint.hpp"
#include "mobula/models/gpt2/model.hpp"
#include "mobula/models/gpt_neox/config.hpp"
#include "mobula/models/gptj/config.hpp"
#include "mobula/models/llama/config.hpp"
#include "mobula/models/mistral/config.hpp"
#include "mobula/models/mixtral/config.hpp"
#include "mobula/models/model_folder.hpp"
#include "mobula/models/opt/config.hpp"
#include "mobula/models/phi3/config.hpp"
#include "mobula/models/quantization_config.hpp"
#include "mobula/models/qwen2/config.hpp"
#include "mobula/models/qwen2_moe/config.hpp"
#include "mobula/models/qwen3/config.hpp"
#include "mobula/models/qwen3_moe/config.hpp"
#include "mobula/nn/checkpoint.hpp"

namespace mobula::models {
namespace {

struct Family {
  std::unique_ptr<nn::CausalLm> (*make)(const Json& config, nn::ParameterSource& source);
  /// What checkpoints of the bare model leave out of parameter names.
  std::string prefix;
  /// Ends of names of tensors that old checkpoints hold and nobody needs.
  std::vector<std::string> ignorable;
  /// Where else parameters may lie.
  std::vector<nn::StoredPart> (*alternatives)(const std::string& name) = nullptr;
};

template <DecoderConfig (*read)(const Json& config)>
std::unique_ptr<nn::CausalLm> make_decoder(const Json& config, nn::ParameterSource& source) {
  return std::make_unique<DecoderLm>(read(config), source);
}

const std::map<std::string, Family>& families() {
  static const std::map<std::string, Family> all = {
      {"gpt2",
       {[](const Json& config, nn::ParameterSource& source) -> std::unique_ptr<nn::CausalLm> {
          return std::make_unique<Gpt2>(Gpt2Config::from_json(config), source);
        },
        "transformer.",
        {".attn.bias", ".attn.masked_bias"}}},
      {"bloom", {make_decoder<read_bloom_config>, "transformer.", {}}},
      {"gemma2", {make_decoder<read_gemma2_config>, "model.", {".rotary_emb.inv_freq"}}},
      {"gemma3_text", {make_decoder<read_gemma3_text_config>, "model.", {".rotary_emb.inv_freq"}}},
      {"gpt_neox",
       {make_decoder<read_gpt_neox_config>,
        "gpt_neox.",
        {".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"}}},
      {"gptj", {make_decoder<read_gptj_config>, "transformer.", {".attn.bias", ".attn.masked_bias"}}},
      {"llama", {make_decoder<read_llama_config>, "model.", {".rotary_emb.inv_freq"}}},
      {"mistral", {make_decoder<read_mistral_config>, "model.", {".rotary_emb.inv_freq"}}},
      {"mixtral", {make_decoder<read_mixtral_config>, "model.", {".rotary_emb.inv_freq"}, find_expert_parts}},
      {"opt", {make_decoder<read_opt_config>, "model.", {}}},
      {"phi3", {make_decoder<read_phi3_config>, "model.", {".rotary_emb.inv_freq"}}},
      {"qwen2", {make_decoder<read_qwen2_config>, "model.", {".rotary_emb.inv_freq"}}},
      {"qwen2_moe", {make_decoder<read_qwen2_moe_config>, "model.", {".rotary_emb.inv_freq"}, find_expert_parts}},
      {"qwen3", {make_decoder<read_qwen3_config>, "model.", {".rotary_emb.inv_freq"}}},
      {"qwen3_moe", {make_decoder<read_qwen3_moe_config>, "model.", {".rotary_emb.inv_freq"}, find_expert_parts}},
  };
  return all;
}

const Family& find_family(const Json& config) {
  const std::string family = ConfigReader(config).text("model_type", "");
  const auto found = families().find(family);
  if (found == families().end()) {
    throw Error(ErrorCode::unsupported,
                fmt::format("config.json: model_type '{}' is no causal language model we know", family),
                suggest(family, causal_lm_families()));
  }
  return found->second;
}

}  // namespace

std::unique_ptr<nn::CausalLm> make_causal_lm(const Json& config, std::uint64_t seed) {
  nn::FreshParameters source(seed);
  return make_causal_lm(config, source);
}

std::unique_ptr<nn::CausalLm> make_causal_lm(const Json& config, nn::ParameterSource& source) {
  return find_family(config).make(config, source);
}

std::vector<std::string> causal_lm_families() {
  std::vector<std::string> names;
  for (const auto& [name, family] : families()) names.push_back(name);
  return names;
}

namespace {

std::unique_ptr<nn::CausalLm> load_from(Json config, const nn::CheckpointTensors& tensors, const LoadOptions& options) {
  const Family& family = find_family(config);
  const bool keep_quantized = !options.type && !options.trainable;
  if (!keep_quantized) config.erase("quantization_config");
  nn::CheckpointParameters source(tensors, {.type = options.type,
                                            .writable = options.trainable,
                                            .keep_quantized = keep_quantized,
                                            .prefix = family.prefix,
                                            .alternatives = family.alternatives});
  auto model = family.make(config, source);
  std::vector<std::string> ignorable = family.ignorable;
  if (model->config().value("tie_word_embeddings", false)) {
    ignorable.insert(ignorable.end(), {"lm_head.weight", "embed_out.weight"});
  }
  source.check_all_used(ignorable);
  if (options.type.value_or(tensors.main_type()) == at::kBFloat16) model->set_precision(nn::Precision::bf16);
  return model;
}

}  // namespace

namespace {

std::unique_ptr<nn::CausalLm> load_gguf(const std::filesystem::path& path, const LoadOptions& options) {
  const GgufCheckpoint checkpoint = read_gguf_checkpoint(std::make_shared<nn::GgufFile>(path));
  LoadOptions with_type = options;
  if (checkpoint.is_quantized && !options.type) with_type.type = at::kBFloat16;
  return load_from(checkpoint.config, nn::CheckpointTensors(checkpoint.tensors), with_type);
}

std::unique_ptr<nn::CausalLm> load_folder(const std::filesystem::path& path, const LoadOptions& options) {
  Json config = nn::read_json_file(path / "config.json");
  find_family(config);
  check_quantization(config);
  const Json generation = load_generation_config(path);
  if (generation.contains("eos_token_id")) config["eos_token_id"] = generation["eos_token_id"];
  return load_from(config, nn::CheckpointTensors(path), options);
}

}  // namespace

std::unique_ptr<nn::CausalLm> load_causal_lm(const std::filesystem::path& path, const LoadOptions& options) {
  if (path.extension() == ".gguf") return naming_config(path, [&] { return load_gguf(path, options); });
  return naming_config(path / "config.json", [&] { return load_folder(path, options); });
}

void load_parameters(nn::Module& model, const std::filesystem::path& directory) {
  const nn::CheckpointTensors tensors(directory);
  nn::CheckpointParameters source(tensors, {});
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : model.parameters()) {
    at::Tensor target = tensor;
    target.copy_(source.get(name, tensor.sizes(), {}));
  }
}

void save_causal_lm(const nn::CausalLm& model, const std::filesystem::path& directory) {
  if (model.config().contains("quantization_config")) {
    throw Error(ErrorCode::unsupported, "a model whose matrices are quantized holds no parameters to write",
                "load it with a type, such as bfloat16");
  }
  save_parameters(model.config(), model.parameters(), directory);
}

void save_parameters(Json config, const std::vector<nn::NamedTensor>& parameters,
                     const std::filesystem::path& directory) {
  Json generation = {{"_from_model_config", true}};
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (config.contains(key) && !config[key].is_null()) generation[key] = config[key];
  }
  write_model_folder(std::move(config), parameters, directory);
  write_file_atomic(directory / "generation_config.json", generation.dump(2) + "\n");
}

}  // namespace mobula::models
