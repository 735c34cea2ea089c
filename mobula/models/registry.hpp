/// Makes models of any known family out of a Hugging Face configuration, and moves them to and from checkpoint folders.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/models/decoder/families.hpp"
#include "mobula/nn/causal_lm.hpp"
#include "mobula/nn/parameter_source.hpp"

namespace mobula::models {

/// Makes a causal language model with fresh parameters for `config` (the content of a config.json; absent keys take
/// transformers' defaults). Throws Error(unsupported) for an unknown model_type, Error(invalid_argument) naming a bad
/// key.
std::unique_ptr<nn::CausalLm> make_causal_lm(const Json& config, std::uint64_t seed);
/// Makes one whose parameters come from `source`.
std::unique_ptr<nn::CausalLm> make_causal_lm(const Json& config, nn::ParameterSource& source);

struct LoadOptions {
  /// Type of the parameters in memory; default: the checkpoint's own. Quantized matrices (see
  /// mobula/nn/quantized_matrix.hpp) stay as they are unless there is a type or the model is trainable; they are no
  /// parameters then.
  std::optional<at::ScalarType> type;
  /// The model will be trained: parameters are copied into memory of their own. Otherwise they lie over the mapped file
  /// where their type allows and must not be written to.
  bool trainable = false;
};

/// Loads a causal language model from a checkpoint folder, or from a file NAME.gguf, whose quantized tensors become
/// bfloat16 unless `options` say otherwise. With parameters in bfloat16, the model computes in
/// Precision::bf16. generation_config.json's eos_token_id counts where there is one. Throws Error naming file and tensor
/// or key: missing, extra or misshapen tensors, an unknown model_type.
std::unique_ptr<nn::CausalLm> load_causal_lm(const std::filesystem::path& path, const LoadOptions& options = {});

/// Copies parameters of a checkpoint folder into `model` (same names and shapes): how a run resumes.
void load_parameters(nn::Module& model, const std::filesystem::path& directory);

/// Writes config.json, generation_config.json and model.safetensors, which transformers loads. The folder is made where
/// it is missing; each file is whole or absent. Tokenizer files are not touched.
void save_causal_lm(const nn::CausalLm& model, const std::filesystem::path& directory);
/// The same from a copy of a model's config() and parameters(): how checkpoints are written while the model trains on.
void save_parameters(Json config, const std::vector<nn::NamedTensor>& parameters,
                     const std::filesystem::path& directory);

}  // namespace mobula::models
