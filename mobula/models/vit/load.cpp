#include "mobula/models/vit/load.hpp"

#include <string>
#include <utility>
#include <vector>

#include "mobula/models/config_reader.hpp"
#include "mobula/models/model_folder.hpp"
#include "mobula/nn/checkpoint.hpp"
#include "mobula/nn/parameter_source.hpp"

namespace mobula::models {
namespace {

// The names that transformers 5 gives the parameters in memory, in case somebody saves those.
std::vector<nn::StoredPart> find_vit_parts(const std::string& name) {
  constexpr std::pair<const char*, const char*> kRenamed[] = {
      {"encoder.layer.", "layers."},
      {"attention.attention.query.", "attention.q_proj."},
      {"attention.attention.key.", "attention.k_proj."},
      {"attention.attention.value.", "attention.v_proj."},
      {"attention.output.dense.", "attention.o_proj."},
      {"intermediate.dense.", "mlp.fc1."},
      {".output.dense.", ".mlp.fc2."},
  };
  std::string other = name;
  for (const auto& [from, to] : kRenamed) {
    if (const auto at = other.find(from); at != std::string::npos) other.replace(at, std::string(from).size(), to);
  }
  return {{.name = other}};
}

}  // namespace

std::unique_ptr<Vit> load_vit(const std::filesystem::path& directory, const LoadOptions& options) {
  const std::filesystem::path file = directory / "config.json";
  VitConfig config = naming_config(file, [&] { return VitConfig::from_json(nn::read_json_file(file)); });
  const nn::CheckpointTensors tensors(directory);
  nn::CheckpointParameters parameters(tensors,
                                      {.type = options.type, .prefix = "vit.", .alternatives = find_vit_parts});
  nn::StoredParameters source(parameters, options.trainable);
  auto model = std::make_unique<Vit>(std::move(config), source);
  parameters.check_all_used({"pooler.dense.weight", "pooler.dense.bias"});
  if (options.type.value_or(tensors.main_type()) == at::kBFloat16) model->set_precision(nn::Precision::bf16);
  return model;
}

void save_vit(const Vit& model, const std::filesystem::path& directory) {
  write_model_folder(model.config(), model.parameters(), directory);
}

}  // namespace mobula::models
