/// A checkpoint folder under construction.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "mobula/nn/module.hpp"

namespace mobula::cli {

/// A folder that appears under its name when it is complete.
class NewFolder {
 public:
  /// Throws Error(already_exists) where something has the name.
  explicit NewFolder(const std::filesystem::path& path);
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  /// Removes what was written unless commit() succeeded.
  ~NewFolder();

  /// Returns where to write for now.
  const std::filesystem::path& path() const noexcept { return temporary_; }
  /// Gives the folder its name.
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  bool done_ = false;
};

/// Writes model.safetensors, or shards of at most `limit` bytes (a larger tensor gets one of its own) with their index.
/// `type` converts floating-point tensors, a shard at a time; throws Error(invalid_argument) where fp16 can't hold one.
void write_shards(const std::vector<nn::NamedTensor>& tensors, std::uint64_t limit, const std::filesystem::path& out,
                  std::optional<at::ScalarType> type = std::nullopt);

}  // namespace mobula::cli
