#include "mobula/models/bert/config.hpp"

namespace mobula::models {

EncoderConfig read_bert_config(const Json& json) {
  CompletedConfig completed(json);
  EncoderConfig config = read_encoder_config(completed, "bert", "Bert");
  config.vocab_size = completed.integer("vocab_size", 30522);
  config.pad_id = completed.reader().integer("pad_token_id", 0, 0);
  config.names = {.trunk = config.task == EncoderTask::features ? "" : "bert.",
                  .masked_dense = "cls.predictions.transform.dense",
                  .masked_norm = "cls.predictions.transform.LayerNorm",
                  .masked_bias = "cls.predictions.bias"};
  config.source = completed.json();
  return config;
}

std::vector<nn::StoredPart> find_bert_parts(const std::string& name) {
  std::vector<nn::StoredPart> parts;
  const bool alone = name.starts_with("embeddings.") || name.starts_with("encoder.") || name.starts_with("pooler.");
  const std::string trunk = alone ? "bert." : "";
  if (alone) parts.push_back({.name = trunk + name});
  for (const auto& [now, once] :
       {std::pair{"LayerNorm.weight", "LayerNorm.gamma"}, std::pair{"LayerNorm.bias", "LayerNorm.beta"}}) {
    const std::string_view suffix(now);
    if (!name.ends_with(suffix)) continue;
    const std::string old = name.substr(0, name.size() - suffix.size()) + once;
    parts.push_back({.name = old});
    if (alone) parts.push_back({.name = trunk + old});
  }
  return parts;
}

}  // namespace mobula::models
