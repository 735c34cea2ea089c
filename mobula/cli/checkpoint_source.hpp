/// A checkpoint as the model commands take it: a folder in Hugging Face's layout, or one file of tensors.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "mobula/base/json.hpp"
#include "mobula/nn/checkpoint.hpp"

namespace mobula::cli {

struct CheckpointSource {
  std::filesystem::path path;
  std::string format;  ///< safetensors, pytorch or gguf
  Json config;         ///< config.json, or what stands for it; an empty object where there is none
  std::unique_ptr<nn::CheckpointTensors> tensors;
};

/// Opens a checkpoint. Throws Error(not_found) where `path` is neither a folder nor a file, and what reading it throws.
CheckpointSource open_checkpoint(const std::string& path);

/// Copies the files that belong to a checkpoint beside its tensors: tokenizer, chat template, generation settings. A GGUF
/// file's tokenizer is written as tokenizer.json. config.json is left out.
void copy_companions(const CheckpointSource& source, const std::filesystem::path& out);

}  // namespace mobula::cli
