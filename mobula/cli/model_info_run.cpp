#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>

#include "mobula/base/size.hpp"
#include "mobula/cli/checkpoint_source.hpp"
#include "mobula/cli/command_line.hpp"
#include "mobula/cli/model.hpp"

namespace mobula::cli {
namespace {

struct Key {
  const char* name;
  std::array<const char*, 4> spellings;
};
// Sizes under one name each, whatever a family calls them.
constexpr std::array<Key, 7> kSizes = {{
    {"layers", {"num_hidden_layers", "n_layer", "num_layers", ""}},
    {"hidden", {"hidden_size", "n_embd", "d_model", ""}},
    {"inner", {"intermediate_size", "n_inner", "d_ff", "ffn_dim"}},
    {"heads", {"num_attention_heads", "n_head", "num_heads", ""}},
    {"kv_heads", {"num_key_value_heads", "", "", ""}},
    {"context", {"max_position_embeddings", "n_positions", "seq_length", ""}},
    {"vocab_size", {"vocab_size", "", "", ""}},
}};

struct Total {
  std::int64_t tensors = 0, parameters = 0;
  std::uint64_t bytes = 0;
};

std::int64_t count(const nn::TensorInfo& info) {
  std::int64_t total = 1;
  for (const std::int64_t size : info.shape) total *= size;
  return total;
}

int run(const ModelInfoOptions& options, const GlobalOptions& globals) {
  const CheckpointSource source = open_checkpoint(options.path);
  Total all;
  std::map<std::string, Total> types;
  Json tensors = Json::array();
  for (const auto& file : source.tensors->files()) {
    for (const nn::TensorInfo& info : file->tensors()) {
      for (Total* total : {&all, &types[info.stored_type]}) {
        ++total->tensors;
        total->parameters += count(info);
        total->bytes += info.num_bytes;
      }
      tensors.push_back({{"name", info.name}, {"type", info.stored_type}, {"shape", info.shape}});
    }
  }
  const Json& config = source.config;
  Json out = {{"path", options.path},
              {"format", source.format},
              {"family", config.value("model_type", Json(nullptr))},
              {"architectures", config.value("architectures", Json::array())},
              {"files", source.tensors->files().size()},
              {"tensors", all.tensors},
              {"parameters", all.parameters},
              {"bytes", all.bytes}};
  for (const auto& [name, total] : types) {
    out["types"][name] = {{"tensors", total.tensors}, {"parameters", total.parameters}, {"bytes", total.bytes}};
  }
  for (const Key& key : kSizes) {
    for (const char* spelling : key.spellings) {
      if (*spelling != '\0' && config.contains(spelling) && !out.contains(key.name)) out[key.name] = config[spelling];
    }
  }
  if (options.tensors) out["tensor_list"] = tensors;
  if (globals.json) {
    fmt::print("{}\n", to_line(out));
    return 0;
  }
  const auto line = [](const std::string& name, const std::string& value) { fmt::print("{:<12} {}\n", name, value); };
  const std::size_t num_files = source.tensors->files().size();
  line("format", fmt::format("{}, {} {}", source.format, num_files, num_files == 1 ? "file" : "files"));
  if (config.contains("model_type")) {
    const Json& family = config["model_type"];
    line("family", family.is_string() ? family.get<std::string>() : to_line(family));
  }
  line("parameters", fmt::format("{} in {} tensors, {}", all.parameters, all.tensors, format_size(all.bytes)));
  for (const auto& [name, total] : types) {
    line("  " + name, fmt::format("{} in {} tensors, {}", total.parameters, total.tensors, format_size(total.bytes)));
  }
  for (const Key& key : kSizes) {
    if (out.contains(key.name)) line(key.name, to_line(out[key.name]));
  }
  if (options.tensors) {
    for (const Json& tensor : tensors) {
      fmt::print("{:<6} {:<20} {}\n", tensor["type"].get<std::string>(), to_line(tensor["shape"]),
                 tensor["name"].get<std::string>());
    }
  }
  return 0;
}

}  // namespace
}  // namespace mobula::cli

extern "C" int mobula_run_model_info(const void* options, const void* globals) {
  return mobula::cli::run(*static_cast<const mobula::cli::ModelInfoOptions*>(options),
                          *static_cast<const mobula::cli::GlobalOptions*>(globals));
}
