#include "mobula/models/encoder/config.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/models/labels.hpp"

namespace mobula::models {
namespace {

EncoderTask read_task(const CompletedConfig& json, std::string_view class_prefix) {
  const std::vector<std::string> architectures = json.reader().texts("architectures");
  const std::string name = architectures.empty() ? fmt::format("{}Model", class_prefix) : architectures.front();
  const std::string bare = name.starts_with(class_prefix) ? name.substr(class_prefix.size()) : name;
  if (bare == "Model") return EncoderTask::features;
  if (bare == "ForMaskedLM" || bare == "ForPreTraining") return EncoderTask::masked_lm;
  if (bare == "ForSequenceClassification") return EncoderTask::sequence_classification;
  if (bare == "ForTokenClassification") return EncoderTask::token_classification;
  throw Error(ErrorCode::unsupported,
              fmt::format("config.json: architecture '{}' is not supported", name.substr(0, 80)),
              fmt::format("known: {0}Model, {0}ForMaskedLM, {0}ForSequenceClassification, {0}ForTokenClassification",
                          class_prefix));
}

}  // namespace

EncoderConfig read_encoder_config(CompletedConfig& json, std::string_view family, std::string_view class_prefix) {
  EncoderConfig config;
  config.family = family;
  config.task = read_task(json, class_prefix);
  if (!json.json().contains("architectures")) {
    json.json()["architectures"] = Json::array({fmt::format("{}Model", class_prefix)});
  }
  config.hidden = json.integer("hidden_size", 768, 1, 1 << 20);
  config.inner = json.integer("intermediate_size", 3072, 1, 1 << 22);
  config.num_layers = json.integer("num_hidden_layers", 12, 1, 4096);
  config.num_heads = json.integer("num_attention_heads", 12, 1, 1 << 16);
  if (config.hidden % config.num_heads != 0) {
    throw_invalid(fmt::format("config.json: hidden_size {} is not a multiple of num_attention_heads {}", config.hidden,
                              config.num_heads));
  }
  config.max_positions = json.integer("max_position_embeddings", 512);
  config.num_token_types = json.integer("type_vocab_size", 2, 1, 1 << 16);
  config.norm_eps = json.number("layer_norm_eps", 1e-12, 0.0, 1.0);
  config.activation = json.activation("hidden_act", "gelu");
  config.hidden_dropout = json.number("hidden_dropout_prob", 0.1, 0.0, 0.999);
  config.attention_dropout = json.number("attention_probs_dropout_prob", 0.1, 0.0, 0.999);
  config.classifier_dropout = json.reader().number("classifier_dropout", config.hidden_dropout, 0.0, 0.999);
  config.initializer_range = json.number("initializer_range", 0.02, 0.0, 10.0);
  const bool classifies =
      config.task == EncoderTask::sequence_classification || config.task == EncoderTask::token_classification;
  if (classifies) config.labels = read_labels(json);
  config.multi_label = json.reader().text("problem_type", "") == "multi_label_classification";
  for (const char* key : {"is_decoder", "add_cross_attention"}) {
    if (json.reader().boolean(key, false)) {
      throw Error(ErrorCode::unsupported, fmt::format("config.json: {} is not supported for {}", key, family));
    }
  }
  if (json.reader().text("position_embedding_type", "absolute") != "absolute") {
    throw Error(ErrorCode::unsupported, "config.json: position_embedding_type other than absolute is not supported");
  }
  if (config.task == EncoderTask::masked_lm && !json.boolean("tie_word_embeddings", true)) {
    throw Error(ErrorCode::unsupported, fmt::format("config.json: {} needs tie_word_embeddings", family));
  }
  return config;
}

}  // namespace mobula::models
