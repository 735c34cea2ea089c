#include "mobula/models/t5/load.hpp"

#include <optional>

#include "mobula/base/json.hpp"
#include "mobula/models/config_reader.hpp"
#include "mobula/models/generation_config.hpp"
#include "mobula/models/model_folder.hpp"
#include "mobula/nn/adapters/adapted_parameters.hpp"
#include "mobula/nn/checkpoint.hpp"
#include "mobula/nn/parameter_source.hpp"

namespace mobula::models {

std::unique_ptr<T5> load_t5(const std::filesystem::path& directory, const LoadOptions& options,
                            const nn::Adapter* adapter) {
  const std::filesystem::path file = directory / "config.json";
  T5Config config = naming_config(file, [&] {
    Json json = nn::read_json_file(file);
    const Json generation = load_generation_config(directory);
    for (const char* key : {"eos_token_id", "decoder_start_token_id"}) {
      if (generation.contains(key)) json[key] = generation[key];
    }
    return T5Config::from_json(json);
  });
  const nn::CheckpointTensors tensors(directory);
  nn::CheckpointParameters parameters(tensors, {.type = options.type});
  nn::StoredParameters source(parameters, options.trainable);
  config.separate_head = source.has("lm_head.weight");
  std::optional<nn::AdaptedParameters> adapted;
  if (adapter != nullptr) adapted.emplace(source, *adapter);
  auto model = std::make_unique<T5>(std::move(config), adapted ? static_cast<nn::ParameterSource&>(*adapted) : source);
  if (adapted) adapted->check_all_used();
  // Copies of the shared table, and a bias that the first checkpoints held and nobody read.
  parameters.check_all_used(
      {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "EncDecAttention.relative_attention_bias.weight"});
  if (options.type.value_or(tensors.main_type()) == at::kBFloat16) model->set_precision(nn::Precision::bf16);
  return model;
}

void save_t5(const T5& model, const std::filesystem::path& directory) {
  write_model_folder(model.config(), model.parameters(), directory);
}

}  // namespace mobula::models
