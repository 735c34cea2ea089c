/// A decoder-only transformer as data: what the decode loop needs to run any family.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mobula/nn/array.hpp"
#include "mobula/nn/layers/activation_kind.hpp"
#include "mobula/nn/quantized_matrix.hpp"

namespace mobula::nn {

enum class NormKind { layer, rms };

/// What a layer adds its two halves to, attention and MLP.
enum class Residual {
  input,     ///< x += attention(norm(x)); x += mlp(norm(x))
  shared,    ///< both halves read the same x, each through its norm: GPT-J, GPT-NeoX
  normed,    ///< x = norm(x); x += attention(x); x = norm(x); x += mlp(x): a variant of BLOOM
  sum_norm,  ///< x = norm(x + attention(x)); x = norm(x + mlp(x)): OPT 350M
};

/// Rotary position embedding (Su et al., "RoFormer", 2021).
struct RotarySpec {
  std::int64_t dim = 0;            ///< leading numbers of a head that are rotated; 0: none
  bool interleaved = false;        ///< pairs are neighbours (GPT-J) instead of halves apart (GPT-NeoX, Llama)
  std::vector<float> frequencies;  ///< dim / 2 angles per position
  float amplitude = 1.0f;          ///< what cosine and sine are multiplied by (yarn, longrope)
  /// Returns the frequencies of a text of that length where they depend on it; null: always `frequencies`.
  std::shared_ptr<const std::function<std::vector<float>(std::int64_t length)>> frequencies_at;
};

struct DecoderSpec {
  std::int64_t vocab_size = 0;
  std::int64_t hidden = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t inner = 0;
  std::int64_t context = 0;
  NormKind norm = NormKind::rms;
  double norm_eps = 1e-5;
  double norm_offset = 0.0;  ///< added to RMSNorm's weights (Gemma: 1)
  Activation activation = Activation::silu;
  Residual residual = Residual::input;
  bool has_final_norm = true;
  double embedding_scale = 1.0;
  double attention_softcap = 0.0;  ///< 0: none
  double logit_softcap = 0.0;      ///< 0: none
  double logit_scale = 1.0;
};

struct NormWeights {
  Array weight, bias;  ///< undefined where there is none
};

/// y = x · weightᵀ + bias, weight [out, in].
struct LinearWeights {
  Array weight, bias;  ///< bias may be undefined
  std::string module;  ///< its name in checkpoints, by which adapters find it; empty: none changes it
  /// Returns those rows of what lies in the checkpoint's order of outputs that this matrix has, in its order; null: all,
  /// as they are.
  std::function<Array(const Array& rows)> rows_of_module;
  std::shared_ptr<const QuantizedMatrix> quantized = nullptr;  ///< stands in for `weight`, which is then undefined

  bool defined() const { return weight.defined() || quantized != nullptr; }
};

/// A mixture of experts in place of an MLP (Shazeer et al. 2017): each token goes to the `num_chosen` experts that are
/// likeliest under softmax(x · routerᵀ).
struct DecoderExperts {
  LinearWeights router;                       ///< [experts, hidden]; used in fp32
  std::vector<LinearWeights> gate, up, down;  ///< one an expert; `gate` is empty for MLPs without a gate
  std::int64_t num_chosen = 2;
  bool normalize = true;  ///< the chosen ones' probabilities are scaled to sum to 1
  /// [1, hidden]: what the layer's own MLP adds for every token is multiplied by sigmoid(x · wᵀ); undefined: by 1.
  LinearWeights shared_gate;
};

struct DecoderLayer {
  NormWeights attention_norm;
  /// Query, key and value, stacked in this order: one matrix for all three, or three.
  std::vector<LinearWeights> qkv;
  NormWeights query_norm, key_norm;  ///< over each head; undefined where there is none
  LinearWeights attention_out;
  NormWeights attention_out_norm;  ///< on what attention adds (Gemma 2); undefined where there is none
  NormWeights mlp_norm;            ///< of Residual::shared, undefined: the MLP reads what attention reads
  LinearWeights gate;              ///< undefined: MLP without a gate
  LinearWeights up, down;          ///< undefined where there are only experts
  std::optional<DecoderExperts> experts;
  NormWeights mlp_out_norm;  ///< on what the MLP adds; undefined where there is none
  double attention_scale = 1.0;
  std::int64_t window = 0;  ///< a position sees this many, itself included; 0: all
  RotarySpec rotary;
  std::vector<float> alibi_slopes;  ///< one a head; empty: no ALiBi
};

/// The whole model; arrays may lie over a mapped file.
struct DecoderModel {
  DecoderSpec spec;
  Array token_embedding;       ///< [vocab, hidden], or [vocab, width] where there is project_in
  LinearWeights project_in;    ///< [hidden, width]: what embeddings pass before positions are added; undefined: none
  Array position_embedding;    ///< [context, hidden]; undefined: none
  NormWeights embedding_norm;  ///< undefined: none
  std::vector<DecoderLayer> layers;
  NormWeights final_norm;
  LinearWeights project_out;  ///< [width, hidden]: what the head reads passes it after the last norm; undefined: none
  LinearWeights head;         ///< [vocab, hidden or width]
  /// Returns the shortest length whose texts turn their positions by the same angles as those of `length`; null: all do.
  /// A text that grows to another answer is read anew.
  std::function<std::int64_t(std::int64_t length)> rotary_length;
};

}  // namespace mobula::nn
