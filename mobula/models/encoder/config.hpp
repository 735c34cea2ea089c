/// Bidirectional encoders described as data: BERT and RoBERTa differ in names, positions and heads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/models/completed_config.hpp"
#include "mobula/nn/layers/activation_kind.hpp"

namespace mobula::models {

/// What stands on top of the encoder; config.json's `architectures` says it.
enum class EncoderTask {
  features,                 ///< nothing: the last layer's vectors
  masked_lm,                ///< scores of the vocabulary at each position
  sequence_classification,  ///< scores of the labels for a text
  token_classification,     ///< scores of the labels at each position
};

/// Names that the families don't share, without ".weight" and ".bias".
struct EncoderNames {
  std::string trunk;                      ///< "bert." or "roberta."; nothing where the encoder stands alone
  std::string masked_dense, masked_norm;  ///< before the masked LM's scores
  std::string masked_bias;                ///< of the scores, with its suffix
  std::string classifier_dense;           ///< before sequence_classification's scores
  std::string classifier_out = "classifier";
};

struct EncoderConfig {
  std::string family;
  Json source;  ///< config.json as read, with what we use filled in
  EncoderTask task = EncoderTask::features;
  EncoderNames names;

  std::int64_t vocab_size = 0;
  std::int64_t hidden = 0;
  std::int64_t inner = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t max_positions = 0;    ///< rows of the table of positions
  std::int64_t position_offset = 0;  ///< row of the first position; RoBERTa keeps rows for padding
  std::int64_t num_token_types = 0;
  std::int64_t pad_id = 0;
  double norm_eps = 1e-12;
  nn::Activation activation = nn::Activation::gelu;
  bool masked_lm_uses_gelu = false;  ///< RoBERTa's head always does
  double hidden_dropout = 0.1, attention_dropout = 0.1, classifier_dropout = 0.1;
  double initializer_range = 0.02;
  bool classifier_uses_pooler = true;  ///< BERT's pooler is a parameter of the trunk, RoBERTa's of the head

  std::vector<std::string> labels;  ///< names of the classes, in order
  bool multi_label = false;         ///< each label holds or not by itself

  std::int64_t context() const noexcept { return max_positions - position_offset; }
};

/// Reads what BERT and RoBERTa have in common. `class_prefix` is "Bert" or "Roberta": architectures are named
/// BertModel, BertForMaskedLM, BertForPreTraining (its masked LM), BertForSequenceClassification,
/// BertForTokenClassification. Throws Error naming the key.
EncoderConfig read_encoder_config(CompletedConfig& json, std::string_view family, std::string_view class_prefix);

}  // namespace mobula::models
