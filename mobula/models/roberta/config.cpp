#include "mobula/models/roberta/config.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"

namespace mobula::models {

EncoderConfig read_roberta_config(const Json& json) {
  CompletedConfig completed(json);
  EncoderConfig config = read_encoder_config(completed, "roberta", "Roberta");
  config.vocab_size = completed.integer("vocab_size", 50265);
  config.pad_id = completed.integer("pad_token_id", 1, 0);
  config.position_offset = config.pad_id + 1;
  if (config.context() < 1) {
    throw_invalid(fmt::format("config.json: max_position_embeddings {} leaves no position after pad_token_id {}",
                              config.max_positions, config.pad_id));
  }
  config.masked_lm_uses_gelu = true;
  config.classifier_uses_pooler = false;
  config.names = {.trunk = config.task == EncoderTask::features ? "" : "roberta.",
                  .masked_dense = "lm_head.dense",
                  .masked_norm = "lm_head.layer_norm",
                  .masked_bias = "lm_head.bias",
                  .classifier_dense = "classifier.dense"};
  if (config.task == EncoderTask::sequence_classification) config.names.classifier_out = "classifier.out_proj";
  config.source = completed.json();
  return config;
}

std::vector<nn::StoredPart> find_roberta_parts(const std::string& name) {
  const bool alone = name.starts_with("embeddings.") || name.starts_with("encoder.") || name.starts_with("pooler.");
  if (!alone) return {};
  return {{.name = "roberta." + name}};
}

}  // namespace mobula::models
