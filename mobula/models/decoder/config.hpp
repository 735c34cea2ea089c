/// Decoders described as data: what distinguishes the families that one implementation serves.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/nn/decoder/spec.hpp"
#include "mobula/nn/generate/engine.hpp"
#include "mobula/nn/layers/activation_kind.hpp"
#include "mobula/nn/layers/rotary_frequencies.hpp"

namespace mobula::models {

/// How a layer joins its two halves, attention and MLP.
enum class BlockKind {
  pre_norm,              ///< x += attention(norm(x)); x += mlp(norm(x))
  sandwich,              ///< the same, each half's result normalised once more: Gemma 2 and 3
  post_norm,             ///< x = norm(x + attention(x)); x = norm(x + mlp(x)): OPT 350M
  normed_residual,       ///< pre_norm, but what is added to is the normalised x: a variant of BLOOM
  parallel,              ///< x += attention(norm_1(x)) + mlp(norm_2(x)): GPT-NeoX
  parallel_shared_norm,  ///< x += attention(norm(x)) + mlp(norm(x)): GPT-J
};

/// How queries, keys and values are projected.
enum class QkvLayout {
  separate,      ///< three matrices
  side_by_side,  ///< one matrix, rows of all queries, then all keys, then all values: Phi-3
  per_head,      ///< one matrix, rows of each head's query, key and value together: GPT-NeoX, BLOOM
};

enum class MlpKind {
  plain,        ///< down(act(up(x)))
  gated,        ///< down(act(gate(x)) * up(x)): SwiGLU and its like (Shazeer 2020)
  gated_fused,  ///< gate and up in one matrix, gate's rows first: Phi-3
};

enum class PositionKind { rotary, learned, alibi };

/// The parameters' names in checkpoints, without ".weight" and ".bias". Those of a layer follow `layers` and the layer's
/// number and a dot.
struct DecoderNames {
  std::string embedding = "model.embed_tokens";
  std::string positions;       ///< learned positions
  std::string embedding_norm;  ///< BLOOM
  std::string project_in, project_out;
  std::string final_norm = "model.norm";
  std::string head = "lm_head";
  std::string layers = "model.layers.";
  std::string norm_1 = "input_layernorm";
  std::string norm_2 = "post_attention_layernorm";
  std::string after_attention_norm, after_mlp_norm;  ///< of BlockKind::sandwich
  std::string qkv;                                   ///< of the layouts with one matrix
  std::string query = "self_attn.q_proj", key = "self_attn.k_proj", value = "self_attn.v_proj";
  std::string query_norm = "self_attn.q_norm", key_norm = "self_attn.k_norm";
  std::string attention_out = "self_attn.o_proj";
  std::string gate = "mlp.gate_proj", up = "mlp.up_proj", down = "mlp.down_proj";  ///< plain: up and down
  std::string router = "mlp.gate";
  std::string experts = "mlp.experts.";  ///< followed by the expert's number, a dot, and one of the next three
  std::string expert_gate = "gate_proj", expert_up = "up_proj", expert_down = "down_proj";
};

/// A mixture of experts in place of the MLP (Shazeer et al. 2017; Fedus et al. 2022).
struct ExpertsConfig {
  std::int64_t num_experts = 0;
  std::int64_t num_chosen = 2;    ///< experts a token goes to
  std::int64_t inner = 0;         ///< width of one expert
  bool normalize_weights = true;  ///< the chosen ones' probabilities are scaled to sum to 1
  std::int64_t shared_inner = 0;  ///< width of the expert that every token goes to; 0: none (Qwen2-MoE has one)
};

/// One layer where layers differ.
struct DecoderLayerConfig {
  std::int64_t window = 0;  ///< positions that attention reaches back, itself included; 0: all
  std::size_t rotary = 0;   ///< index into DecoderConfig::rotary
  bool has_experts = false;
  double attention_factor = 1.0;  ///< beside DecoderConfig::attention_scale: GPT-2 may divide by the layer's number
};

struct DecoderConfig {
  std::string family;  ///< model_type
  Json source;         ///< config.json as read, with what we use filled in: what is written back
  DecoderNames names;

  std::int64_t vocab_size = 0;
  std::int64_t context = 0;
  std::int64_t hidden = 0;
  std::int64_t inner = 0;  ///< width of the MLP
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t embedding_width = 0;  ///< other than `hidden` where there are project_in and project_out
  std::vector<nn::TokenId> eos_ids;

  nn::NormKind norm = nn::NormKind::rms;
  double norm_offset = 0.0;  ///< added to RMS norm's weights: 1 for Gemma, whose weights start at 0
  bool norm_has_parameters = true;
  double norm_eps = 1e-6;
  bool has_final_norm = true;
  BlockKind block = BlockKind::pre_norm;
  QkvLayout qkv = QkvLayout::separate;
  bool qkv_bias = false;
  bool attention_out_bias = false;
  bool normalize_heads = false;  ///< RMS norm over each query's and key's head before turning: Qwen 3, Gemma 3
  double attention_scale = 1.0;
  double attention_softcap = 0.0;  ///< 0: none
  double logits_softcap = 0.0;     ///< 0: none
  double embedding_scale = 1.0;
  MlpKind mlp = MlpKind::gated;
  bool mlp_bias = false;
  bool inputs_first = false;  ///< matrices of projections lie [in, out] in checkpoints: GPT-2's Conv1D
  nn::Activation activation = nn::Activation::silu;
  ExpertsConfig experts;
  bool tied_head = false;
  bool head_bias = false;

  PositionKind positions = PositionKind::rotary;
  std::int64_t position_offset = 0;  ///< learned: rows of the table before position 0
  std::vector<nn::RotaryOptions> rotary;

  double embedding_dropout = 0.0, attention_dropout = 0.0, residual_dropout = 0.0;
  double initializer_range = 0.02;

  std::vector<DecoderLayerConfig> layers;
};

}  // namespace mobula::models
