/// State dicts that torch.save wrote (.bin, .pt, .pth; torch 1.6 and later), read without running anything.
#pragma once

#include <memory>
#include <unordered_map>

#include "mobula/base/files.hpp"
#include "mobula/nn/tensor_file.hpp"

namespace mobula::nn {

/// The tensors of a dictionary, or of the dictionary under its key "state_dict", "model" or "module" where it holds no
/// tensor itself; other values are left out.
class PytorchFile final : public TensorFile {
 public:
  /// Maps the file and reads its table. Throws Error(corrupt) for damaged files and tensors outside their storage,
  /// Error(unsupported) for a file that wants code to be run, for old formats and for sparse or quantized tensors.
  explicit PytorchFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const noexcept override { return path_; }
  const std::vector<TensorInfo>& tensors() const noexcept override { return infos_; }
  Array tensor(std::string_view name) const override;

 private:
  struct Place {
    const std::byte* data;
    std::uint64_t num_bytes;  // from there to the storage's end
    std::vector<std::int64_t> strides;
  };

  std::filesystem::path path_;
  std::shared_ptr<MappedFile> mapping_;
  std::vector<TensorInfo> infos_;
  std::vector<Place> places_;
  std::unordered_map<std::string_view, std::size_t> by_name_;
};

}  // namespace mobula::nn
