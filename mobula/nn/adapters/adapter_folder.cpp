#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <cmath>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/nn/adapters/adapter.hpp"
#include "mobula/nn/checkpoint.hpp"

namespace mobula::nn {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";

bool is_set(const Json& value) {
  if (value.is_null()) return false;
  if (value.is_boolean()) return value.get<bool>();
  return !(value.is_structured() && value.empty());
}

// Reads adapter_config.json's keys with their types.
class ConfigView {
 public:
  ConfigView(const Json& json, std::string file) : json_(json), file_(std::move(file)) {}

  [[noreturn]] void refuse(std::string_view key, std::string_view expected) const {
    throw_invalid(fmt::format("{}: {} is {}, expected {}", file_, key,
                              to_line(*json_.find(std::string(key))).substr(0, 80), expected));
  }
  bool flag(const char* key) const {
    if (!json_.contains(key) || json_[key].is_null()) return false;
    if (!json_[key].is_boolean()) refuse(key, "true or false");
    return json_[key].get<bool>();
  }
  double number(const char* key, double fallback) const {
    if (!json_.contains(key) || json_[key].is_null()) return fallback;
    if (!json_[key].is_number()) refuse(key, "a number");
    return json_[key].get<double>();
  }
  // Returns what a pattern says for a module: the first whose key ends the module's name, as a regular expression.
  std::optional<double> pattern(const char* key, const std::string& module) const {
    if (!json_.contains(key) || json_[key].is_null()) return std::nullopt;
    if (!json_[key].is_object()) refuse(key, "an object of numbers");
    for (const auto& [name, value] : json_[key].items()) {
      if (!value.is_number()) refuse(key, "an object of numbers");
      if (ends_with(module, name)) return value.get<double>();
    }
    return std::nullopt;
  }

 private:
  static bool ends_with(const std::string& module, const std::string& name) {
    const bool plain = name.find_first_of("^$*+?()[]{}|\\") == std::string::npos;
    if (plain) {
      return module == name ||
             (module.size() > name.size() && module.ends_with(name) && module[module.size() - name.size() - 1] == '.');
    }
    const std::string pattern = "^(.*\\.)?(?:" + name + ")$";
    int problem = 0;
    PCRE2_SIZE place = 0;
    pcre2_code* code =
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), 0, &problem, &place, nullptr);
    if (code == nullptr) throw_invalid(fmt::format("adapter_config.json: '{}' is no regular expression", name));
    pcre2_match_data* match = pcre2_match_data_create_from_pattern(code, nullptr);
    const int found =
        pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(module.data()), module.size(), 0, 0, match, nullptr);
    pcre2_match_data_free(match);
    pcre2_code_free(code);
    return found >= 0;
  }

  const Json& json_;
  std::string file_;
};

// Options under which PEFT computes something else than what is done here.
void check_supported(const Json& config, const std::string& file) {
  for (const char* key :
       {"layer_replication", "megatron_config", "use_qalora", "target_parameters", "trainable_token_indices",
        "alora_invocation_tokens", "arrow_config", "lora_bias", "use_bdlora", "kasa_config", "velora_config"}) {
    if (config.contains(key) && is_set(config[key])) {
      throw Error(ErrorCode::unsupported, fmt::format("{}: {} is set, which is not supported", file, key));
    }
  }
}

class FolderReader {
 public:
  explicit FolderReader(const std::filesystem::path& directory) {
    const auto config = directory / "adapter_config.json";
    config_file_ = config.string();
    adapter_.config = read_json_file(config);
    for (const char* name : {"adapter_model.safetensors", "adapter_model.bin"}) {
      if (file_ == nullptr && std::filesystem::exists(directory / name)) file_ = open_tensor_file(directory / name);
    }
    if (file_ == nullptr) {
      throw Error(ErrorCode::not_found, fmt::format("{}: no adapter_model.safetensors", directory.string()),
                  "name the folder that PEFT's save_pretrained wrote");
    }
  }

  Adapter read() {
    const Json& config = adapter_.config;
    const std::string kind = config.contains("peft_type") && config["peft_type"].is_string()
                                 ? config["peft_type"].get<std::string>()
                                 : std::string();
    if (kind != "LORA" && kind != "IA3") {
      throw Error(ErrorCode::unsupported,
                  fmt::format("{}: peft_type '{}' is not supported", config_file_, kind.substr(0, 80)),
                  "known: LORA (also rsLoRA and DoRA), IA3");
    }
    check_supported(config, config_file_);
    for (const TensorInfo& info : file_->tensors()) take(info.name);
    const ConfigView view(config, config_file_);
    const bool by_root = view.flag("use_rslora"), dora = view.flag("use_dora");
    for (auto& [name, module] : adapter_.modules) {
      if (module.factor.defined()) continue;
      check_lora(name, module, dora);
      const auto rank = static_cast<double>(module.a.size(0));
      const double alpha = view.pattern("alpha_pattern", name).value_or(view.number("lora_alpha", 8.0));
      module.scale = alpha / (by_root ? std::sqrt(rank) : rank);
      if (!std::isfinite(module.scale)) throw_invalid(fmt::format("{}: lora_alpha is {}", config_file_, alpha));
    }
    if (adapter_.modules.empty() && adapter_.replacements.empty()) bad("", "holds nothing");
    return std::move(adapter_);
  }

 private:
  [[noreturn]] void bad(std::string_view tensor, std::string_view what) const {
    throw Error(ErrorCode::corrupt, tensor.empty() ? fmt::format("{}: {}", file_->path().string(), what)
                                                   : fmt::format("{}: tensor '{}' {}", file_->path().string(),
                                                                 tensor.substr(0, 200), what));
  }

  void take(const std::string& full) {
    if (!full.starts_with(kPrefix)) bad(full, "doesn't begin with 'base_model.model.'");
    const Array tensor = file_->tensor(full);
    if (!tensor.is_floating_point()) bad(full, "holds no floating-point numbers");
    const std::string name = full.substr(kPrefix.size());
    const auto module = [&](std::string_view end) -> AdapterModule& {
      return adapter_.modules[name.substr(0, name.size() - end.size())];
    };
    const auto needs = [&](std::int64_t dimensions) {
      if (tensor.dim() != dimensions || tensor.numel() == 0) bad(full, "is misshapen");
    };
    if (name.ends_with(".lora_A.weight")) {
      needs(2);
      module(".lora_A.weight").a = tensor;
    } else if (name.ends_with(".lora_B.weight")) {
      needs(2);
      module(".lora_B.weight").b = tensor;
    } else if (name.ends_with(".lora_embedding_A")) {
      needs(2);
      module(".lora_embedding_A").a = tensor;
      module(".lora_embedding_A").is_embedding = true;
    } else if (name.ends_with(".lora_embedding_B")) {
      needs(2);
      module(".lora_embedding_B").b = tensor;
    } else if (name.ends_with(".lora_magnitude_vector")) {
      module(".lora_magnitude_vector").magnitude = tensor.flatten();
    } else if (name.ends_with(".lora_magnitude_vector.weight")) {
      module(".lora_magnitude_vector.weight").magnitude = tensor.flatten();
    } else if (name.ends_with(".ia3_l")) {
      needs(2);
      if (tensor.size(0) != 1 && tensor.size(1) != 1) bad(full, "is misshapen");
      AdapterModule& target = module(".ia3_l");
      // A row scales inputs, a column outputs; a single number may be either, and the feedforward list decides.
      target.scales_inputs = tensor.size(0) == 1 && (tensor.size(1) != 1 || is_feedforward(name));
      target.factor = tensor.flatten();
    } else if (name.find(".lora_") != std::string::npos) {
      bad(full, "is of a kind that is not supported");
    } else {
      std::string plain = name;
      if (const auto layer = plain.find(".base_layer."); layer != std::string::npos) plain.erase(layer, 11);
      if (!adapter_.replacements.emplace(plain, tensor).second) bad(full, "stands there twice");
    }
  }

  bool is_feedforward(std::string_view name) const {
    const Json& config = adapter_.config;
    if (!config.contains("feedforward_modules")) return false;
    const std::string_view module = name.substr(0, name.size() - std::string_view(".ia3_l").size());
    const Json& list = config["feedforward_modules"];
    if (!list.is_array()) return false;
    for (const Json& entry : list) {
      if (entry.is_string() && module.ends_with(entry.get<std::string>())) return true;
    }
    return false;
  }

  void check_lora(const std::string& name, const AdapterModule& module, bool dora) const {
    if (!module.a.defined()) bad(name, "has no lora_A");
    if (!module.b.defined()) bad(name, "has no lora_B");
    if (module.a.size(0) != module.b.size(1)) {
      bad(name, fmt::format("has a lora_A of [{}] and a lora_B of [{}]", fmt::join(module.a.sizes(), ", "),
                            fmt::join(module.b.sizes(), ", ")));
    }
    if (module.magnitude.defined() != dora)
      bad(name, dora ? "has no lora_magnitude_vector" : "has a magnitude without use_dora");
    if (module.magnitude.defined() && (module.is_embedding || module.magnitude.numel() != module.b.size(0))) {
      bad(name, "has a misshapen lora_magnitude_vector");
    }
  }

  std::string config_file_;
  std::shared_ptr<const TensorFile> file_;
  Adapter adapter_;
};

}  // namespace

bool Adapter::inputs_first() const {
  return config.contains("fan_in_fan_out") && config["fan_in_fan_out"].is_boolean() &&
         config["fan_in_fan_out"].get<bool>();
}

Adapter load_adapter(const std::filesystem::path& directory) {
  return FolderReader(directory).read();
}

}  // namespace mobula::nn
