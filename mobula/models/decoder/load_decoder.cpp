#include "mobula/models/decoder/load_decoder.hpp"

#include <memory>
#include <utility>

#include "mobula/models/config_reader.hpp"
#include "mobula/models/decoder/decoder_model.hpp"
#include "mobula/models/generation_config.hpp"
#include "mobula/models/gguf/checkpoint.hpp"
#include "mobula/models/quantization_config.hpp"

namespace mobula::models {
namespace {

DecoderCheckpoint open_gguf(const std::filesystem::path& path) {
  GgufCheckpoint file = read_gguf_checkpoint(std::make_shared<nn::GgufFile>(path));
  const DecoderFamily& family = find_decoder_family(file.config);
  return {std::move(file.config), &family, nn::CheckpointTensors(std::move(file.tensors)),
          file.is_quantized ? std::optional(at::kBFloat16) : std::nullopt};
}

DecoderCheckpoint open_folder(const std::filesystem::path& path) {
  Json config = nn::read_json_file(path / "config.json");
  const DecoderFamily& family = find_decoder_family(config);
  check_quantization(config);
  const Json generation = load_generation_config(path);
  if (generation.contains("eos_token_id")) config["eos_token_id"] = generation["eos_token_id"];
  return {std::move(config), &family, nn::CheckpointTensors(path), std::nullopt};
}

}  // namespace

nn::CheckpointParameters DecoderCheckpoint::parameters(std::optional<at::ScalarType> as, bool keep_quantized) const {
  return {tensors,
          {.type = as ? as : type,
           .keep_quantized = keep_quantized,
           .prefix = family->prefix,
           .alternatives = family->alternatives}};
}

void DecoderCheckpoint::check_all_used(const nn::CheckpointParameters& parameters, const Json& source) const {
  std::vector<std::string> ignorable = family->ignorable;
  if (source.value("tie_word_embeddings", false)) {
    ignorable.insert(ignorable.end(), {"lm_head.weight", "embed_out.weight"});
  }
  parameters.check_all_used(ignorable);
}

void with_decoder_checkpoint(const std::filesystem::path& path,
                             const std::function<void(const DecoderCheckpoint& checkpoint)>& use) {
  const bool is_gguf = path.extension() == ".gguf";
  naming_config(is_gguf ? path : path / "config.json", [&] { use(is_gguf ? open_gguf(path) : open_folder(path)); });
}

LoadedDecoder load_decoder(const std::filesystem::path& path, std::optional<at::ScalarType> type) {
  LoadedDecoder loaded;
  with_decoder_checkpoint(path, [&](const DecoderCheckpoint& checkpoint) {
    const DecoderConfig config = checkpoint.family->read(checkpoint.config);
    nn::CheckpointParameters parameters = checkpoint.parameters(type, /*keep_quantized=*/!type && !checkpoint.type);
    loaded.model = read_decoder_model(config, parameters);
    checkpoint.check_all_used(parameters, config.source);
    loaded.info = {.family = config.family,
                   .vocab_size = static_cast<std::size_t>(config.vocab_size),
                   .context = static_cast<std::size_t>(config.context),
                   .eos_ids = config.eos_ids};
  });
  return loaded;
}

}  // namespace mobula::models
