// Checkpoints out of checkpoints: converted, with adapters merged, or the mean of several.
#include <ATen/ops/abs.h>
#include <ATen/ops/add.h>
#include <ATen/ops/mul.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/size.hpp"
#include "mobula/cli/checkpoint_source.hpp"
#include "mobula/cli/command_line.hpp"
#include "mobula/cli/model.hpp"
#include "mobula/nn/adapters/adapter.hpp"
#include "mobula/nn/safetensors.hpp"

namespace mobula::cli {
namespace {

namespace fs = std::filesystem;

struct Type {
  const char* option;
  const char* config;
  at::ScalarType type;
};
constexpr Type kTypes[] = {
    {"fp32", "float32", at::kFloat}, {"fp16", "float16", at::kHalf}, {"bf16", "bfloat16", at::kBFloat16}};

const Type* find_type(const std::string& dtype) {
  if (dtype.empty()) return nullptr;
  const auto* found = std::ranges::find_if(kTypes, [&](const Type& type) { return dtype == type.option; });
  if (found == std::end(kTypes))
    throw_invalid(fmt::format("--dtype {} is unknown here", dtype), "use fp32, fp16 or bf16");
  return found;
}

at::Tensor converted(const nn::NamedTensor& named, const Type* type) {
  if (type == nullptr || !named.tensor.is_floating_point()) return named.tensor;
  if (type->type == at::kHalf && named.tensor.numel() > 0) {
    const double largest = at::abs(named.tensor.to(at::kFloat)).max().item<double>();
    if (std::isfinite(largest) && largest > 65504.0) {
      throw_invalid(fmt::format("tensor '{}' holds {:g}, more than fp16 can", named.name, largest), "use bf16 or fp32");
    }
  }
  return named.tensor.to(type->type);
}

// A folder that appears under its name when it is complete.
class NewFolder {
 public:
  explicit NewFolder(const fs::path& path) : path_(path) {
    if (fs::exists(path)) {
      throw Error(ErrorCode::already_exists, fmt::format("{} is in the way", path.string()), "name another folder");
    }
    temporary_ = path;
    temporary_ += fmt::format(".partial-{}", ::getpid());
    fs::create_directories(temporary_);
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  ~NewFolder() {
    std::error_code ignored;
    if (!done_) fs::remove_all(temporary_, ignored);
  }
  const fs::path& path() const { return temporary_; }
  void commit() {
    sync_directory(temporary_);
    fs::rename(temporary_, path_);
    done_ = true;
  }

 private:
  fs::path path_, temporary_;
  bool done_ = false;
};

// Writes model.safetensors, or shards of at most `limit` bytes (a larger tensor gets one of its own) with their index.
void write_tensors(const std::vector<nn::NamedTensor>& tensors, const Type* type, std::uint64_t limit,
                   const fs::path& out) {
  const auto bytes_of = [&](const at::Tensor& tensor) {
    const bool changes = type != nullptr && tensor.is_floating_point();
    return static_cast<std::uint64_t>(tensor.numel()) *
           (changes ? c10::elementSize(type->type) : tensor.element_size());
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

std::vector<nn::NamedTensor> all_tensors(const nn::CheckpointTensors& tensors) {
  std::vector<nn::NamedTensor> all;
  for (const std::string& name : tensors.names()) all.push_back({name, tensors.tensor(name)});
  return all;
}

// A file of already merged tensors, for the next adapter.
class MergedTensors final : public nn::TensorFile {
 public:
  MergedTensors(fs::path path, std::vector<nn::NamedTensor> tensors)
      : path_(std::move(path)), tensors_(std::move(tensors)) {
    for (const nn::NamedTensor& one : tensors_) {
      infos_.push_back({.name = one.name, .type = one.tensor.scalar_type(), .shape = one.tensor.sizes().vec()});
    }
  }
  const fs::path& path() const noexcept override { return path_; }
  const std::vector<nn::TensorInfo>& tensors() const noexcept override { return infos_; }
  at::Tensor tensor(std::string_view name) const override {
    const auto found = std::ranges::find(tensors_, name, &nn::NamedTensor::name);
    if (found == tensors_.end()) nn::throw_no_tensor(*this, name);
    return found->tensor;
  }

 private:
  fs::path path_;
  std::vector<nn::NamedTensor> tensors_;
  std::vector<nn::TensorInfo> infos_;
};

std::vector<nn::NamedTensor> with_adapters(const CheckpointSource& source, const std::vector<std::string>& folders,
                                           bool undo) {
  std::optional<nn::CheckpointTensors> changed;
  std::vector<nn::NamedTensor> result;
  for (const std::string& folder : folders) {
    result = nn::merged_parameters(changed ? *changed : *source.tensors, nn::load_adapter(folder), undo);
    changed.emplace(std::make_shared<const MergedTensors>(source.path, result));
  }
  return result;
}

std::vector<nn::NamedTensor> mean(const std::vector<CheckpointSource>& sources, std::vector<double> weights) {
  if (weights.empty()) weights.assign(sources.size(), 1.0 / static_cast<double>(sources.size()));
  if (weights.size() != sources.size()) {
    throw_invalid(fmt::format("{} weights are given for {} models", weights.size(), sources.size()));
  }
  std::vector<nn::NamedTensor> result;
  for (const std::string& name : sources.front().tensors->names()) {
    const at::Tensor first = sources.front().tensors->tensor(name);
    at::Tensor sum;
    for (std::size_t i = 0; i < sources.size(); ++i) {
      const at::Tensor part = sources[i].tensors->tensor(name);
      if (part.sizes() != first.sizes()) {
        throw_invalid(fmt::format("tensor '{}' has the shape [{}] in {} and [{}] in {}", name,
                                  fmt::join(first.sizes(), ", "), sources.front().path.string(),
                                  fmt::join(part.sizes(), ", "), sources[i].path.string()));
      }
      const at::Tensor share = at::mul(part.to(at::kFloat), weights[i]);
      sum = sum.defined() ? at::add(sum, share) : share;
    }
    result.push_back({name, first.is_floating_point() ? sum.to(first.scalar_type()) : first});
  }
  for (const CheckpointSource& source : sources) {
    if (source.tensors->names().size() != result.size()) {
      throw_invalid(
          fmt::format("{} and {} hold different tensors", sources.front().path.string(), source.path.string()),
          "see mobula model diff");
    }
  }
  return result;
}

int run(const ModelWriteOptions& options, const GlobalOptions& globals) {
  const Type* type = find_type(options.dtype);
  const std::uint64_t limit = parse_size(options.shard_size);
  if (limit < 1) throw_invalid("--shard-size is 0");
  if (options.undo && options.adapters.empty()) throw_invalid("--undo needs --adapter");
  if (options.models.size() > 1 && !options.adapters.empty()) {
    throw_invalid("--adapter merges into one model", "merge the models first");
  }
  if (options.models.size() == 1 && !options.weights.empty()) throw_invalid("--weights needs several models");
  NewFolder folder(options.out);
  std::vector<CheckpointSource> sources;
  for (const std::string& model : options.models) sources.push_back(open_checkpoint(model));
  const CheckpointSource& first = sources.front();
  std::vector<nn::NamedTensor> tensors = sources.size() > 1 ? mean(sources, options.weights)
                                         : options.adapters.empty()
                                             ? all_tensors(*first.tensors)
                                             : with_adapters(first, options.adapters, options.undo);
  write_tensors(tensors, type, limit, folder.path());
  if (!first.config.empty()) {
    Json config = first.config;
    if (type != nullptr) config[config.contains("dtype") ? "dtype" : "torch_dtype"] = type->config;
    write_file_atomic(folder.path() / "config.json", config.dump(2) + "\n");
  }
  copy_companions(first, folder.path());
  folder.commit();
  if (globals.json) {
    fmt::print("{}\n", to_line({{"out", options.out}, {"tensors", tensors.size()}}));
  } else {
    fmt::print("{}: {} tensors\n", options.out, tensors.size());
  }
  return 0;
}

}  // namespace
}  // namespace mobula::cli

extern "C" int mobula_run_model_write(const void* options, const void* globals) {
  return mobula::cli::run(*static_cast<const mobula::cli::ModelWriteOptions*>(options),
                          *static_cast<const mobula::cli::GlobalOptions*>(globals));
}
