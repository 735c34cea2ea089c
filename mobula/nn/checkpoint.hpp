/// Checkpoint folders in Hugging Face's layout: config.json, generation_config.json, and model.safetensors or shards with
/// model.safetensors.index.json; where there are none, pytorch_model.bin or its shards.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/nn/initial.hpp"
#include "mobula/nn/quantized_matrix.hpp"
#include "mobula/nn/tensor_file.hpp"

namespace mobula::nn {

/// Reads a JSON object of at most 16 MiB. Throws Error naming the file.
Json read_json_file(const std::filesystem::path& path);

/// Opens a file of tensors by its name's end: .safetensors, or .bin, .pt, .pth for PyTorch's. Throws Error(unsupported) for
/// another.
std::shared_ptr<const TensorFile> open_tensor_file(const std::filesystem::path& path);

/// The tensors of a checkpoint folder, whatever files they are spread over. The parts of a quantized matrix count as one
/// tensor "X.weight" that holds the numbers they stand for. Thread-safe.
class CheckpointTensors {
 public:
  /// Opens the folder's files. Throws Error(not_found) where there are none or a shard is missing, Error(corrupt) where
  /// index and shards disagree.
  explicit CheckpointTensors(const std::filesystem::path& directory);
  /// Takes the tensors of one file.
  explicit CheckpointTensors(std::shared_ptr<const TensorFile> file);

  /// Returns the folder, or the one file's path.
  const std::filesystem::path& directory() const noexcept { return directory_; }
  const std::vector<std::shared_ptr<const TensorFile>>& files() const noexcept { return files_; }
  /// Returns all names, sorted.
  std::vector<std::string> names() const;
  bool contains(std::string_view name) const;
  /// Returns the numbers over the mapped file; they must not be written to. A quantized matrix is computed at each call. Throws
  /// Error(not_found).
  Array tensor(std::string_view name) const;
  /// Returns the file that holds the tensor; of a quantized matrix, and where nobody has it, directory().
  std::filesystem::path path_of(std::string_view name) const;
  /// Returns the quantized matrix of that name, or null.
  std::shared_ptr<const QuantizedMatrix> quantized(std::string_view name) const;
  /// Tells whether any matrix is quantized.
  bool has_quantized() const noexcept { return !quantized_.empty(); }
  /// Returns the type that most of the tensors' bytes have.
  at::ScalarType main_type() const;

 private:
  void add_file(std::shared_ptr<const TensorFile> file);
  void add_shards(const std::filesystem::path& index);
  /// Puts quantized matrices in the place of their parts.
  void join_parts();

  std::filesystem::path directory_;
  std::vector<std::shared_ptr<const TensorFile>> files_;
  std::unordered_map<std::string, const TensorFile*> file_of_;
  std::unordered_map<std::string, std::shared_ptr<const QuantizedMatrix>> quantized_;
};

/// Where a parameter lies in a checkpoint that keeps it under another name or together with others.
struct StoredPart {
  std::string name;
  std::int64_t index = -1;  ///< which slice of the tensor's first dimension; -1: the tensor itself
  std::int64_t part = 0;    ///< which of `num_parts` equal runs of the slice's rows
  std::int64_t num_parts = 1;
};

/// Finds a model's parameters in a checkpoint.
class CheckpointParameters {
 public:
  struct Options {
    std::optional<at::ScalarType> type;  ///< converts floating-point parameters; default: as in the file
    bool keep_quantized = false;         ///< quantized() gives matrices as they are; otherwise get() has their numbers
    std::string prefix;                  ///< such as "transformer.": also found where the file leaves it out
    /// Returns where else to look for a parameter, in this order; may be null.
    std::vector<StoredPart> (*alternatives)(const std::string& name) = nullptr;
  };
  /// Keeps a reference to `tensors`.
  CheckpointParameters(const CheckpointTensors& tensors, Options options);

  /// Returns the parameter's numbers. Throws Error(not_found) or Error(corrupt) where the checkpoint lacks the name or has another
  /// shape. `initial` is for sources that make parameters anew.
  Array get(const std::string& name, const Shape& shape, Initial initial = {});
  /// Tells whether get() would find the parameter.
  bool has(const std::string& name) const { return find(name).has_value(); }
  /// Returns the matrix as the checkpoint keeps it in few bits, where the options ask for that; null: ask get().
  std::shared_ptr<const QuantizedMatrix> quantized(const std::string& name, const Shape& shape);

  /// Throws Error(corrupt) naming a tensor of the checkpoint, or a slice of one, that nobody asked for, leaving out names
  /// that end with one of `ignorable_suffixes`.
  void check_all_used(const std::vector<std::string>& ignorable_suffixes) const;

 private:
  std::optional<StoredPart> find(const std::string& name) const;
  Array read(const StoredPart& part);
  void check_shape(const std::string& name, const Shape& shape, const Shape& wanted) const;

  const CheckpointTensors& tensors_;
  Options options_;
  std::unordered_set<std::string> used_;
  std::unordered_map<std::string, std::unordered_set<std::int64_t>> used_slices_;
};

}  // namespace mobula::nn
