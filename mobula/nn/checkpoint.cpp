#include "mobula/nn/checkpoint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/nn/pytorch_file.hpp"
#include "mobula/nn/safetensors.hpp"

namespace mobula::nn {
namespace {

constexpr std::size_t kMaxJson = std::size_t{16} << 20;
constexpr const char* kOtherConfig = "is config.json that of another checkpoint?";
constexpr std::size_t kMaxIndex = std::size_t{256} << 20;

// Returns shard names out of the index, each once. The map is long, so it is read with fast look-up.
std::map<std::string, std::vector<std::string>> read_index(const std::filesystem::path& path) {
  const auto corrupt = [&](const std::string& what) {
    return Error(ErrorCode::corrupt, fmt::format("{}: {}", path.string(), what));
  };
  const nlohmann::json index = nlohmann::json::parse(read_file(path, kMaxIndex), nullptr, /*allow_exceptions=*/false);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw corrupt("expected an object with 'weight_map'");
  }
  std::map<std::string, std::vector<std::string>> names_of;
  for (const auto& [name, shard] : index["weight_map"].items()) {
    if (!shard.is_string()) throw corrupt(fmt::format("weight_map['{}'] is no file name", name));
    const auto file = shard.get<std::string>();
    // A shard lies beside its index: anything else would let a checkpoint name files elsewhere.
    if (file.empty() || file.find('/') != std::string::npos || file == "." || file == "..") {
      throw corrupt(fmt::format("weight_map['{}'] names '{}', expected a file in the same folder", name, file));
    }
    names_of[file].push_back(name);
  }
  return names_of;
}

}  // namespace

Json read_json_file(const std::filesystem::path& path) {
  Json json = parse_json(read_file(path, kMaxJson), path.string());
  if (!json.is_object()) throw Error(ErrorCode::corrupt, fmt::format("{}: expected a JSON object", path.string()));
  return json;
}

std::shared_ptr<const TensorFile> open_tensor_file(const std::filesystem::path& path) {
  const std::string end = path.extension().string();
  if (end == ".safetensors") return std::make_shared<SafetensorsFile>(path);
  if (end == ".bin" || end == ".pt" || end == ".pth") return std::make_shared<PytorchFile>(path);
  throw Error(ErrorCode::unsupported, fmt::format("{}: no file of tensors that is read here", path.string()),
              "known: .safetensors, .bin, .pt, .pth");
}

CheckpointTensors::CheckpointTensors(const std::filesystem::path& directory) : directory_(directory) {
  for (const char* name : {"model.safetensors", "pytorch_model.bin"}) {
    const auto single = directory / name;
    const auto index = directory / (std::string(name) + ".index.json");
    if (std::filesystem::exists(single)) {
      add_file(open_tensor_file(single));
      join_parts();
      return;
    }
    if (std::filesystem::exists(index)) {
      add_shards(index);
      join_parts();
      return;
    }
  }
  throw Error(ErrorCode::not_found,
              fmt::format("{}: no model.safetensors, no pytorch_model.bin and no index of either", directory.string()),
              "name the folder of a checkpoint in Hugging Face's layout");
}

CheckpointTensors::CheckpointTensors(std::shared_ptr<const TensorFile> file) : directory_(file->path()) {
  add_file(std::move(file));
  join_parts();
}

void CheckpointTensors::add_shards(const std::filesystem::path& index) {
  for (const auto& [file, names] : read_index(index)) {
    if (!std::filesystem::exists(directory_ / file)) {
      throw Error(ErrorCode::not_found, fmt::format("{}: the shard is missing", (directory_ / file).string()),
                  fmt::format("{} names it", index.string()));
    }
    add_file(open_tensor_file(directory_ / file));
    for (const std::string& name : names) {
      const auto found = file_of_.find(name);
      if (found == file_of_.end() || found->second != files_.back().get()) {
        throw Error(ErrorCode::corrupt, fmt::format("{}: no tensor '{}', which the index says it holds",
                                                    (directory_ / file).string(), name));
      }
    }
  }
}

void CheckpointTensors::add_file(std::shared_ptr<const TensorFile> file) {
  for (const TensorInfo& info : file->tensors()) {
    const auto [place, fresh] = file_of_.emplace(info.name, file.get());
    if (!fresh) {
      throw Error(ErrorCode::corrupt, fmt::format("tensor '{}' is in {} and in {}", info.name,
                                                  place->second->path().string(), file->path().string()));
    }
  }
  files_.push_back(std::move(file));
}

void CheckpointTensors::join_parts() {
  std::vector<std::string> found;
  for (const auto& [stored, file] : file_of_) {
    if (std::string name = quantized_name(stored); !name.empty()) found.push_back(std::move(name));
  }
  for (const std::string& name : found) {
    const auto part = [&](const std::string& stored) {
      const auto place = file_of_.find(stored);
      return place == file_of_.end() ? Array() : place->second->tensor(stored);
    };
    quantized_[name] = read_quantized(directory_.string(), name, part);
    const std::string module = name.substr(0, name.rfind('.'));
    for (const std::string& end : quantized_part_names()) file_of_.erase(module + end);
  }
}

std::vector<std::string> CheckpointTensors::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : file_of_) names.push_back(name);
  for (const auto& [name, matrix] : quantized_) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

bool CheckpointTensors::contains(std::string_view name) const {
  return file_of_.contains(std::string(name)) || quantized_.contains(std::string(name));
}

std::filesystem::path CheckpointTensors::path_of(std::string_view name) const {
  const auto found = file_of_.find(std::string(name));
  return found == file_of_.end() ? directory_ : found->second->path();
}

std::shared_ptr<const QuantizedMatrix> CheckpointTensors::quantized(std::string_view name) const {
  const auto found = quantized_.find(std::string(name));
  return found == quantized_.end() ? nullptr : found->second;
}

Array CheckpointTensors::tensor(std::string_view name) const {
  if (const auto matrix = quantized(name)) return matrix->dequantize();
  const auto found = file_of_.find(std::string(name));
  if (found == file_of_.end()) {
    throw Error(ErrorCode::not_found, fmt::format("{}: the checkpoint has no tensor '{}'", directory_.string(), name),
                suggest(name, names()));
  }
  return found->second->tensor(name);
}

at::ScalarType CheckpointTensors::main_type() const {
  std::map<at::ScalarType, std::uint64_t> bytes;
  for (const auto& file : files_) {
    for (const TensorInfo& info : file->tensors()) {
      if (file_of_.contains(info.name)) bytes[info.type] += info.num_bytes;
    }
  }
  for (const auto& [name, matrix] : quantized_) {
    bytes[matrix->type] += static_cast<std::uint64_t>(matrix->num_out * matrix->num_in) * element_size(matrix->type);
  }
  const auto most =
      std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? at::kFloat : most->first;
}

CheckpointParameters::CheckpointParameters(const CheckpointTensors& tensors, Options options)
    : tensors_(tensors), options_(std::move(options)) {}

std::optional<StoredPart> CheckpointParameters::find(const std::string& name) const {
  std::vector<StoredPart> places = {{.name = name}};
  if (options_.alternatives != nullptr) {
    for (StoredPart& part : options_.alternatives(name)) places.push_back(std::move(part));
  }
  for (StoredPart& place : places) {
    if (tensors_.contains(place.name)) return place;
    if (options_.prefix.empty() || !place.name.starts_with(options_.prefix)) continue;
    place.name = place.name.substr(options_.prefix.size());
    if (tensors_.contains(place.name)) return place;
  }
  return std::nullopt;
}

Array CheckpointParameters::read(const StoredPart& part) {
  const Array whole = tensors_.tensor(part.name);
  used_.insert(part.name);
  if (part.index < 0) return whole;
  if (whole.dim() != 3 || part.index >= whole.size(0) || whole.size(1) % part.num_parts != 0) {
    throw Error(
        ErrorCode::corrupt,
        fmt::format("{}: tensor '{}' has the shape [{}], config.json asks for slice {} of its first dimension",
                    tensors_.path_of(part.name).string(), part.name, fmt::join(whole.sizes(), ", "), part.index));
  }
  used_slices_[part.name].insert(part.index);
  const std::int64_t rows = whole.size(1) / part.num_parts;
  return whole.select(part.index).narrow(part.part * rows, rows);
}

void CheckpointParameters::check_shape(const std::string& name, const Shape& shape, const Shape& wanted) const {
  if (shape == wanted) return;
  throw Error(ErrorCode::corrupt,
              fmt::format("{}: tensor '{}' has the shape [{}], config.json asks for [{}]",
                          tensors_.path_of(name).string(), name, fmt::join(shape, ", "), fmt::join(wanted, ", ")),
              kOtherConfig);
}

std::shared_ptr<const QuantizedMatrix> CheckpointParameters::quantized(const std::string& name, const Shape& shape) {
  if (!options_.keep_quantized) return nullptr;
  const std::optional<StoredPart> place = find(name);
  if (!place || place->index >= 0) return nullptr;
  auto matrix = tensors_.quantized(place->name);
  if (matrix == nullptr) return nullptr;
  check_shape(place->name, {matrix->num_out, matrix->num_in}, shape);
  used_.insert(place->name);
  return matrix;
}

Array CheckpointParameters::get(const std::string& name, const Shape& shape, Initial) {
  const std::optional<StoredPart> found = find(name);
  if (!found) {
    throw Error(ErrorCode::not_found,
                fmt::format("{}: the checkpoint has no tensor '{}'", tensors_.directory().string(), name),
                fmt::format("config.json asks for it: {}", kOtherConfig));
  }
  const StoredPart& place = *found;
  Array value = read(place);
  check_shape(place.name, value.sizes(), shape);
  if (!value.is_floating_point()) {
    throw Error(ErrorCode::corrupt,
                fmt::format("{}: tensor '{}' holds {}, expected floating-point numbers",
                            tensors_.path_of(place.name).string(), place.name, c10::toString(value.scalar_type())));
  }
  const at::ScalarType type = options_.type.value_or(value.scalar_type());
  return value.to(type);
}

void CheckpointParameters::check_all_used(const std::vector<std::string>& ignorable_suffixes) const {
  for (const std::string& name : tensors_.names()) {
    const bool ignorable = std::any_of(ignorable_suffixes.begin(), ignorable_suffixes.end(),
                                       [&](const std::string& suffix) { return name.ends_with(suffix); });
    if (!ignorable && !used_.contains(name)) {
      throw Error(
          ErrorCode::corrupt,
          fmt::format("{}: tensor '{}' belongs to no parameter of the model", tensors_.path_of(name).string(), name),
          kOtherConfig);
    }
  }
  for (const auto& [name, slices] : used_slices_) {
    const std::int64_t num_slices = tensors_.tensor(name).size(0);
    if (num_slices != static_cast<std::int64_t>(slices.size())) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: tensor '{}' holds {} slices, config.json asks for {}",
                                                  tensors_.path_of(name).string(), name, num_slices, slices.size()));
    }
  }
}

}  // namespace mobula::nn
