#include <ATen/ops/abs.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <string>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/cli/checkpoint_target.hpp"
#include "mobula/nn/safetensors_writer.hpp"

namespace mobula::cli {

namespace fs = std::filesystem;

namespace {

at::Tensor converted(const nn::NamedTensor& named, std::optional<at::ScalarType> type) {
  if (!type || !named.tensor.is_floating_point()) return named.tensor;
  if (*type == at::kHalf && named.tensor.numel() > 0) {
    const double largest = at::abs(named.tensor.to(at::kFloat)).max().item<double>();
    if (std::isfinite(largest) && largest > 65504.0) {
      throw_invalid(fmt::format("tensor '{}' holds {:g}, more than fp16 can", named.name, largest), "use bf16 or fp32");
    }
  }
  return named.tensor.to(*type);
}

}  // namespace

NewFolder::NewFolder(const fs::path& path) : path_(path) {
  if (fs::exists(path)) {
    throw Error(ErrorCode::already_exists, fmt::format("{} is in the way", path.string()), "name another folder");
  }
  temporary_ = path;
  temporary_ += fmt::format(".partial-{}", ::getpid());
  std::error_code problem;
  fs::create_directories(temporary_, problem);
  if (problem) {
    throw Error(ErrorCode::io, fmt::format("{}: the folder can't be made: {}", path.string(), problem.message()));
  }
}

NewFolder::~NewFolder() {
  std::error_code ignored;
  if (!done_) fs::remove_all(temporary_, ignored);
}

void NewFolder::commit() {
  sync_directory(temporary_);
  fs::rename(temporary_, path_);
  done_ = true;
}

void write_shards(const std::vector<nn::NamedTensor>& tensors, std::uint64_t limit, const fs::path& out,
                  std::optional<at::ScalarType> type) {
  const auto bytes_of = [&](const at::Tensor& tensor) {
    const bool changes = type && tensor.is_floating_point();
    return static_cast<std::uint64_t>(tensor.numel()) * (changes ? c10::elementSize(*type) : tensor.element_size());
  };
  std::vector<std::vector<const nn::NamedTensor*>> shards(1);
  std::uint64_t filled = 0, total = 0;
  for (const nn::NamedTensor& tensor : tensors) {
    const std::uint64_t bytes = bytes_of(tensor.tensor);
    if (filled + bytes > limit && !shards.back().empty()) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(&tensor);
    filled += bytes;
    total += bytes;
  }
  std::string map;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shards.size() == 1 ? "model.safetensors"
                                                : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    std::vector<nn::NamedTensor> content;
    for (const nn::NamedTensor* tensor : shards[i]) {
      content.push_back({tensor->name, converted(*tensor, type)});
      map += fmt::format("{}\n    {}: {}", map.empty() ? "" : ",", to_line(Json(tensor->name)), to_line(Json(name)));
    }
    nn::write_safetensors(out / name, content);
  }
  if (shards.size() == 1) return;
  write_file_atomic(
      out / "model.safetensors.index.json",
      fmt::format("{{\n  \"metadata\": {{\"total_size\": {}}},\n  \"weight_map\": {{{}\n  }}\n}}\n", total, map));
}

}  // namespace mobula::cli
