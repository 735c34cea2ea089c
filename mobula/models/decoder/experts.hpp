/// What configurations and checkpoints of mixtures of experts have in common.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/models/completed_config.hpp"
#include "mobula/models/decoder/config.hpp"
#include "mobula/nn/checkpoint.hpp"

namespace mobula::models {

struct ExpertsDefaults {
  std::string_view num_key = "num_experts";
  std::int64_t num_experts = 0;
  std::int64_t num_chosen = 0;
  std::int64_t inner = 0;  ///< moe_intermediate_size; 0: the family has no such key
};

/// Reads the number of experts, how many a token goes to, and their width. Throws Error(invalid_argument) where a token
/// would go to more experts than there are.
void read_experts(CompletedConfig& completed, DecoderConfig& config, const ExpertsDefaults& defaults);

/// Sets which layers have experts, by decoder_sparse_step and mlp_only_layers, as Qwen's MoE models do.
void read_sparse_layers(CompletedConfig& completed, DecoderConfig& config);

/// Returns where else a parameter of a mixture of experts may lie in a checkpoint: under Mixtral's other name for the
/// block, or as one expert's rows of a tensor that holds all experts.
std::vector<nn::StoredPart> find_expert_parts(const std::string& name);

}  // namespace mobula::models
