#include "mobula/models/registry.hpp"

#include <ATen/core/grad_mode.h>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/models/decoder/decoder_lm.hpp"
#include "mobula/models/decoder/load_decoder.hpp"
#include "mobula/models/gpt2/model.hpp"
#include "mobula/models/model_folder.hpp"
#include "mobula/nn/checkpoint.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::models {
namespace {

std::unique_ptr<nn::CausalLm> make(const DecoderFamily& family, const Json& config, nn::ParameterSource& source) {
  if (family.read == read_gpt2_config) return std::make_unique<Gpt2>(Gpt2Config::from_json(config), source);
  return std::make_unique<DecoderLm>(family.read(config), source);
}

}  // namespace

std::unique_ptr<nn::CausalLm> make_causal_lm(const Json& config, std::uint64_t seed) {
  nn::FreshParameters source(seed);
  return make_causal_lm(config, source);
}

std::unique_ptr<nn::CausalLm> make_causal_lm(const Json& config, nn::ParameterSource& source) {
  return make(find_decoder_family(config), config, source);
}

std::unique_ptr<nn::CausalLm> load_causal_lm(const std::filesystem::path& path, const LoadOptions& options) {
  std::unique_ptr<nn::CausalLm> model;
  with_decoder_checkpoint(path, [&](const DecoderCheckpoint& checkpoint) {
    const std::optional<at::ScalarType> type = options.type ? options.type : checkpoint.type;
    const bool keep_quantized = !type && !options.trainable;
    Json config = checkpoint.config;
    if (!keep_quantized) config.erase("quantization_config");
    nn::CheckpointParameters parameters = checkpoint.parameters(type, keep_quantized);
    nn::StoredParameters source(parameters, options.trainable);
    model = make(*checkpoint.family, config, source);
    checkpoint.check_all_used(parameters, model->config());
    if (type.value_or(checkpoint.tensors.main_type()) == at::kBFloat16) model->set_precision(nn::Precision::bf16);
  });
  return model;
}

void load_parameters(nn::Module& model, const std::filesystem::path& directory) {
  const nn::CheckpointTensors tensors(directory);
  nn::CheckpointParameters source(tensors, {});
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : model.parameters()) {
    at::Tensor target = tensor;
    target.copy_(nn::to_tensor(source.get(name, tensor.sizes().vec())));
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
