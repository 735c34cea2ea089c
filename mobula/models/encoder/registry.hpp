/// Makes encoders of any known family out of a Hugging Face configuration, and moves them to and from checkpoint folders.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "mobula/models/encoder/encoder.hpp"
#include "mobula/models/registry.hpp"

namespace mobula::models {

/// Makes an encoder with fresh parameters. Throws Error(unsupported) for an unknown model_type or architecture,
/// Error(invalid_argument) naming a bad key.
std::unique_ptr<Encoder> make_encoder(const Json& config, std::uint64_t seed);

/// Returns the model_type values that make_encoder knows, sorted.
std::vector<std::string> encoder_families();

/// Loads an encoder with the head that config.json's `architectures` names. A checkpoint of the encoder alone serves as
/// features. With parameters in bfloat16 it computes in Precision::bf16. Throws Error naming file and tensor or key.
std::unique_ptr<Encoder> load_encoder(const std::filesystem::path& directory, const LoadOptions& options = {});

/// Writes config.json and model.safetensors, which transformers loads. The folder is made where it is missing; each file
/// is whole or absent.
void save_encoder(const Encoder& model, const std::filesystem::path& directory);

}  // namespace mobula::models
