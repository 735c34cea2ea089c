#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/cli/checkpoint_source.hpp"
#include "mobula/cli/gguf_tokenizer.hpp"
#include "mobula/models/gguf/checkpoint.hpp"
#include "mobula/nn/gguf_file.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::cli {

namespace fs = std::filesystem;

CheckpointSource open_checkpoint(const std::string& name) {
  CheckpointSource source;
  source.path = name;
  source.config = Json::object();
  if (fs::is_directory(source.path)) {
    source.tensors = std::make_unique<nn::CheckpointTensors>(source.path);
    const bool safetensors = source.tensors->files().front()->path().extension() == ".safetensors";
    source.format = safetensors ? "safetensors" : "pytorch";
    if (fs::exists(source.path / "config.json")) source.config = nn::read_json_file(source.path / "config.json");
    return source;
  }
  if (!fs::is_regular_file(source.path)) {
    throw Error(ErrorCode::not_found, fmt::format("{}: no such folder or file", name),
                "name the folder of a checkpoint, or a file of tensors");
  }
  if (source.path.extension() == ".gguf") {
    auto checkpoint = models::read_gguf_checkpoint(std::make_shared<nn::GgufFile>(source.path));
    source.format = "gguf";
    source.config = std::move(checkpoint.config);
    source.tensors = std::make_unique<nn::CheckpointTensors>(std::move(checkpoint.tensors));
    return source;
  }
  source.tensors = std::make_unique<nn::CheckpointTensors>(nn::open_tensor_file(source.path));
  source.format = source.path.extension() == ".safetensors" ? "safetensors" : "pytorch";
  return source;
}

void copy_companions(const CheckpointSource& source, const fs::path& out) {
  if (source.format == "gguf") {
    const nn::GgufFile file(source.path);
    const std::string json = gguf_tokenizer_json(file.metadata());
    if (!json.empty()) {
      text::Tokenizer::parse(json, source.path.string())
          ->save(out, file.metadata().text("tokenizer.chat_template").value_or(""));
    }
    return;
  }
  if (!fs::is_directory(source.path)) return;
  for (const auto& entry : fs::directory_iterator(source.path)) {
    const std::string name = entry.path().filename().string(), end = entry.path().extension().string();
    const bool belongs = end == ".json" || end == ".jinja" || end == ".txt" || end == ".model" || end == ".tiktoken";
    if (!entry.is_regular_file() || !belongs || name == "config.json" || name.ends_with(".index.json")) continue;
    fs::copy_file(entry.path(), out / name, fs::copy_options::overwrite_existing);
  }
}

}  // namespace mobula::cli
