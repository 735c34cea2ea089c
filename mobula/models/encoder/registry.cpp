#include "mobula/models/encoder/registry.hpp"

#include <fmt/format.h>

#include <map>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/models/bert/config.hpp"
#include "mobula/models/model_folder.hpp"
#include "mobula/models/roberta/config.hpp"
#include "mobula/nn/checkpoint.hpp"
#include "mobula/nn/parameter_source.hpp"

namespace mobula::models {
namespace {

struct Family {
  EncoderConfig (*read)(const Json& config);
  /// What checkpoints of the encoder alone leave out of parameter names.
  std::string prefix;
  /// Where else parameters may lie.
  std::vector<nn::StoredPart> (*alternatives)(const std::string& name);
  /// Ends of names of tensors that nobody needs: tied copies, buffers, heads of the pre-training.
  std::vector<std::string> ignorable;
};

const std::map<std::string, Family>& families() {
  static const std::map<std::string, Family> all = {
      {"bert",
       {read_bert_config,
        "bert.",
        find_bert_parts,
        {"embeddings.position_ids", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias",
         "cls.seq_relationship.weight", "cls.seq_relationship.bias"}}},
      {"roberta",
       {read_roberta_config,
        "roberta.",
        find_roberta_parts,
        {"embeddings.position_ids", "lm_head.decoder.weight", "lm_head.decoder.bias"}}},
  };
  return all;
}

const Family& find_family(const Json& config) {
  const std::string family = ConfigReader(config).text("model_type", "");
  const auto found = families().find(family);
  if (found == families().end()) {
    throw Error(ErrorCode::unsupported, fmt::format("config.json: model_type '{}' is no encoder we know", family),
                suggest(family, encoder_families()));
  }
  return found->second;
}

}  // namespace

std::unique_ptr<Encoder> make_encoder(const Json& config, std::uint64_t seed) {
  nn::FreshParameters source(seed);
  return std::make_unique<Encoder>(find_family(config).read(config), source);
}

std::vector<std::string> encoder_families() {
  std::vector<std::string> names;
  for (const auto& [name, family] : families()) names.push_back(name);
  return names;
}

namespace {

std::unique_ptr<Encoder> load_folder(const std::filesystem::path& directory, const LoadOptions& options) {
  const Json config = nn::read_json_file(directory / "config.json");
  const Family& family = find_family(config);
  const nn::CheckpointTensors tensors(directory);
  nn::CheckpointParameters parameters(
      tensors, {.type = options.type, .prefix = family.prefix, .alternatives = family.alternatives});
  nn::StoredParameters source(parameters, options.trainable);
  auto model = std::make_unique<Encoder>(family.read(config), source);
  std::vector<std::string> ignorable = family.ignorable;
  // Saved by those who don't leave the pooler out of a model that has no use for it.
  ignorable.insert(ignorable.end(), {"pooler.dense.weight", "pooler.dense.bias"});
  parameters.check_all_used(ignorable);
  if (options.type.value_or(tensors.main_type()) == at::kBFloat16) model->set_precision(nn::Precision::bf16);
  return model;
}

}  // namespace

std::unique_ptr<Encoder> load_encoder(const std::filesystem::path& directory, const LoadOptions& options) {
  return naming_config(directory / "config.json", [&] { return load_folder(directory, options); });
}

void save_encoder(const Encoder& model, const std::filesystem::path& directory) {
  write_model_folder(model.config(), model.parameters(), directory);
}

}  // namespace mobula::models
