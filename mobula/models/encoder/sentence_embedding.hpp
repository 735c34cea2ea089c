/// One vector for a whole text, as the sentence-transformers library makes it out of an encoder's vectors (Reimers &
/// Gurevych, "Sentence-BERT", 2019).
///
/// Shape suffixes: B texts, T positions, C width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>

namespace mobula::models {

enum class Pooling {
  mean,   ///< of all tokens' vectors
  first,  ///< the first token's
  max,    ///< the largest of each component
};

struct SentenceEmbeddingOptions {
  Pooling pooling = Pooling::mean;
  bool normalize = true;        ///< to length 1
  std::int64_t max_tokens = 0;  ///< texts are cut to so many, special tokens included; 0: to the model's context
};

/// Reads modules.json, the pooling module's config.json and sentence_bert_config.json of a checkpoint folder. Without
/// modules.json, the defaults. Throws Error(unsupported) for modules and poolings other than these.
SentenceEmbeddingOptions read_sentence_embedding_options(const std::filesystem::path& directory);

/// Returns one vector a text [B, C] in fp32 from the last layer's `hidden_BTC`; `mask_BT` (bool) is false at padding,
/// undefined where there is none.
at::Tensor embed_sentences(const at::Tensor& hidden_BTC, const at::Tensor& mask_BT,
                           const SentenceEmbeddingOptions& options);

}  // namespace mobula::models
