/// A file of named tensors, whatever its format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/nn/array.hpp"

namespace mobula::nn {

/// What a file says of one tensor.
struct TensorInfo {
  std::string name;
  std::string stored_type;           ///< as the format spells it, such as "BF16" or "Q4_K"
  at::ScalarType type = at::kFloat;  ///< what tensor() gives
  std::vector<std::int64_t> shape;
  std::uint64_t num_bytes = 0;  ///< in the file
};

/// Immutable and thread-safe.
class TensorFile {
 public:
  TensorFile() = default;
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;
  virtual ~TensorFile();

  virtual const std::filesystem::path& path() const noexcept = 0;
  /// Returns all tensors, in the order of the file.
  virtual const std::vector<TensorInfo>& tensors() const noexcept = 0;
  /// Returns a tensor's numbers; where the format allows it, over the mapped bytes, so that it must not be written to. Throws
  /// Error(not_found).
  virtual Array tensor(std::string_view name) const = 0;
};

/// Throws Error(not_found) that names the file, the missing tensor and the nearest name there is.
[[noreturn]] void throw_no_tensor(const TensorFile& file, std::string_view name);

}  // namespace mobula::nn
