// Checkpoints out of checkpoints: converted, with adapters merged, or the mean of several.
#include <ATen/ops/add.h>
#include <ATen/ops/mul.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/size.hpp"
#include "mobula/cli/checkpoint_source.hpp"
#include "mobula/cli/checkpoint_target.hpp"
#include "mobula/cli/command_line.hpp"
#include "mobula/cli/model.hpp"
#include "mobula/nn/adapters/merge_adapter.hpp"
#include "mobula/nn/tensor_array.hpp"

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

std::vector<nn::NamedTensor> all_tensors(const nn::CheckpointTensors& tensors) {
  std::vector<nn::NamedTensor> all;
  for (const std::string& name : tensors.names()) all.push_back({name, nn::to_tensor(tensors.tensor(name))});
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
  nn::Array tensor(std::string_view name) const override {
    const auto found = std::ranges::find(tensors_, name, &nn::NamedTensor::name);
    if (found == tensors_.end()) nn::throw_no_tensor(*this, name);
    return nn::to_array(found->tensor);
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
    const at::Tensor first = nn::to_tensor(sources.front().tensors->tensor(name));
    at::Tensor sum;
    for (std::size_t i = 0; i < sources.size(); ++i) {
      const at::Tensor part = nn::to_tensor(sources[i].tensors->tensor(name));
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
  const std::vector<nn::NamedTensor> tensors = sources.size() > 1 ? mean(sources, options.weights)
                                               : options.adapters.empty()
                                                   ? all_tensors(*first.tensors)
                                                   : with_adapters(first, options.adapters, options.undo);
  write_shards(tensors, limit, folder.path(), type == nullptr ? std::nullopt : std::optional(type->type));
  if (!first.config.empty()) {
    Json config = first.config;
    config.erase("quantization_config");  // what was quantized is written as the numbers it stands for
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
