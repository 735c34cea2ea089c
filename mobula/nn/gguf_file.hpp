/// GGUF files (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3: metadata, then tensors.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "mobula/base/files.hpp"
#include "mobula/nn/gguf_types.hpp"
#include "mobula/nn/tensor_file.hpp"

namespace mobula::nn {

/// One value of the metadata. Numbers of all widths come as std::int64_t or double.
using GgufValue = std::variant<bool, std::int64_t, double, std::string, std::vector<std::int64_t>, std::vector<double>,
                               std::vector<std::string>>;

/// The metadata, looked up with a type. Values of another type and numbers out of range throw Error(corrupt) that names
/// the key.
class GgufMetadata {
 public:
  explicit GgufMetadata(std::string file) : file_(std::move(file)) {}

  const std::map<std::string, GgufValue>& all() const noexcept { return values_; }
  /// Adds a value; returns false where the key is taken.
  bool add(std::string key, GgufValue value) { return values_.emplace(std::move(key), std::move(value)).second; }

  bool has(const std::string& key) const { return values_.contains(key); }
  std::optional<std::int64_t> integer(const std::string& key) const;
  std::optional<double> number(const std::string& key) const;
  std::optional<bool> boolean(const std::string& key) const;
  std::optional<std::string> text(const std::string& key) const;
  /// Return the list under the key, or null.
  const std::vector<std::string>* texts(const std::string& key) const;
  const std::vector<std::int64_t>* integers(const std::string& key) const;
  const std::vector<double>* numbers(const std::string& key) const;

 private:
  template <class T>
  const T* find(const std::string& key, std::string_view expected) const;

  std::string file_;
  std::map<std::string, GgufValue> values_;
};

/// A tensor as the header describes it.
struct GgufEntry {
  TensorInfo info;
  const GgufType* type = nullptr;
  std::uint64_t begin = 0;  ///< byte of the file
};

/// What the beginning of a file says.
struct GgufHeader {
  GgufMetadata metadata;
  std::vector<GgufEntry> entries;
};

/// Parses and checks a file's header: counts, lengths, types, and that every tensor lies inside the file, aligned, none over
/// another. `name` leads messages. Throws Error(corrupt), or Error(unsupported) for versions and types that are not read
/// here. Never reads outside `file`; time and memory are bounded by its size.
GgufHeader parse_gguf(std::span<const std::byte> file, std::string_view name);

/// A GGUF file mapped into memory.
class GgufFile final : public TensorFile {
 public:
  explicit GgufFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const noexcept override { return path_; }
  const std::vector<TensorInfo>& tensors() const noexcept override { return infos_; }
  /// Returns f32, f16 and bf16 tensors over the mapped bytes, quantized ones as new fp32 tensors.
  Array tensor(std::string_view name) const override;
  const GgufMetadata& metadata() const noexcept { return header_.metadata; }

 private:
  std::filesystem::path path_;
  std::shared_ptr<MappedFile> mapping_;
  GgufHeader header_;
  std::vector<TensorInfo> infos_;
  std::unordered_map<std::string_view, std::size_t> by_name_;
};

}  // namespace mobula::nn
