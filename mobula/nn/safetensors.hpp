/// The safetensors format (https://github.com/huggingface/safetensors): 8 bytes of header length, a JSON header, then the
/// tensors' bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "mobula/base/files.hpp"
#include "mobula/nn/tensor_file.hpp"

namespace mobula::nn {

/// Returns the format's name of a type, such as "BF16". Throws Error(unsupported) for one that it lacks.
std::string_view safetensors_type(at::ScalarType type);

/// Where one tensor lies in a file.
struct SafetensorsEntry {
  std::string name;
  at::ScalarType type = at::kFloat;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  ///< bytes after the header
  std::uint64_t end = 0;
};

/// Parses and checks the header of a file whose whole content is `file`: its length, JSON, types, shapes, and that the
/// tensors cover the data without overlap or hole. `name` leads messages. Throws Error(corrupt), or Error(unsupported)
/// for a type that isn't known. Never reads outside `file`. Fills `metadata` where it is not null.
std::vector<SafetensorsEntry> parse_safetensors(std::span<const std::byte> file, std::string_view name,
                                                std::map<std::string, std::string>* metadata = nullptr);

/// A safetensors file mapped into memory. Immutable and thread-safe.
class SafetensorsFile final : public TensorFile {
 public:
  /// Maps and checks the file. Throws Error(not_found), Error(io), or what parse_safetensors throws.
  explicit SafetensorsFile(const std::filesystem::path& path);

  /// Returns the tensors in the order of their bytes.
  const std::vector<SafetensorsEntry>& entries() const noexcept { return entries_; }
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }
  const std::filesystem::path& path() const noexcept override { return path_; }
  const std::vector<TensorInfo>& tensors() const noexcept override { return infos_; }

  /// Returns the tensor's entry, or null.
  const SafetensorsEntry* find(std::string_view name) const;
  /// Returns an array over the mapped bytes, without copying; it keeps the mapping alive and must not be written to. Bytes
  /// that are not aligned to their type are copied. Throws Error(not_found).
  Array tensor(std::string_view name) const override;

 private:
  std::filesystem::path path_;
  std::shared_ptr<MappedFile> mapping_;
  std::map<std::string, std::string> metadata_;
  std::vector<SafetensorsEntry> entries_;
  std::vector<TensorInfo> infos_;
  std::unordered_map<std::string_view, std::size_t> by_name_;
  const std::byte* data_ = nullptr;
};

}  // namespace mobula::nn
