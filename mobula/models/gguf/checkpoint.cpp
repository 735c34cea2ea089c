#include "mobula/models/gguf/checkpoint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"

namespace mobula::models {
namespace {

using Names = std::vector<std::pair<std::string_view, std::string_view>>;

// What the converter did to a tensor, to be undone.
enum class Change {
  none,
  rows_interleaved,  // the halves of each head's rows were dealt out in turns, for neighbouring rotary pairs
  one_added,         // to a norm's weights
};

struct Architecture {
  std::string_view name, model_type, class_name;
  Names layer_names;  // beside the common ones
  bool interleaves_heads = false;
  bool adds_one_to_norms = false;
};

const std::array<Architecture, 4> kArchitectures = {{
    {.name = "llama",
     .model_type = "llama",
     .class_name = "LlamaForCausalLM",
     .layer_names = {{"ffn_norm", "post_attention_layernorm"}},
     .interleaves_heads = true},
    {.name = "qwen2",
     .model_type = "qwen2",
     .class_name = "Qwen2ForCausalLM",
     .layer_names = {{"ffn_norm", "post_attention_layernorm"}}},
    {.name = "qwen3",
     .model_type = "qwen3",
     .class_name = "Qwen3ForCausalLM",
     .layer_names = {{"ffn_norm", "post_attention_layernorm"},
                     {"attn_q_norm", "self_attn.q_norm"},
                     {"attn_k_norm", "self_attn.k_norm"}}},
    {.name = "gemma2",
     .model_type = "gemma2",
     .class_name = "Gemma2ForCausalLM",
     .layer_names = {{"post_attention_norm", "post_attention_layernorm"},
                     {"ffn_norm", "pre_feedforward_layernorm"},
                     {"post_ffw_norm", "post_feedforward_layernorm"}},
     .adds_one_to_norms = true},
}};

constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kTopNames = {
    {{"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}}};

constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kLayerNames = {
    {{"attn_norm", "input_layernorm"},
     {"attn_q", "self_attn.q_proj"},
     {"attn_k", "self_attn.k_proj"},
     {"attn_v", "self_attn.v_proj"},
     {"attn_output", "self_attn.o_proj"},
     {"ffn_gate", "mlp.gate_proj"},
     {"ffn_up", "mlp.up_proj"},
     {"ffn_down", "mlp.down_proj"}}};

constexpr std::string_view kRopeFactors = "rope_freqs.weight";

template <class Pairs>
std::string_view look_up(const Pairs& pairs, std::string_view name) {
  for (const auto& [from, to] : pairs) {
    if (from == name) return to;
  }
  return {};
}

// Returns Hugging Face's name for "blk.3.attn_q.weight" and its like, or the name itself where it is unknown.
std::string translate(const Architecture& architecture, const std::string& name) {
  const auto dot = name.rfind('.');
  if (dot == std::string::npos) return name;
  const std::string_view stem = std::string_view(name).substr(0, dot);
  if (const std::string_view top = look_up(kTopNames, stem); !top.empty()) return std::string(top) + name.substr(dot);
  if (!stem.starts_with("blk.")) return name;
  int layer = 0;
  const auto [end, problem] = std::from_chars(stem.data() + 4, stem.data() + stem.size(), layer);
  if (problem != std::errc() || end == stem.data() + stem.size() || *end != '.') return name;
  const std::string_view part(end + 1, static_cast<std::size_t>(stem.data() + stem.size() - end - 1));
  std::string_view known = look_up(kLayerNames, part);
  if (known.empty()) known = look_up(architecture.layer_names, part);
  return known.empty() ? name : fmt::format("model.layers.{}.{}{}", layer, known, name.substr(dot));
}

class RenamedTensors final : public nn::TensorFile {
 public:
  RenamedTensors(std::shared_ptr<const nn::GgufFile> file, const Architecture& architecture, std::int64_t num_heads,
                 std::int64_t num_kv_heads)
      : file_(std::move(file)) {
    for (const nn::TensorInfo& info : file_->tensors()) {
      if (info.name == kRopeFactors) continue;  // went into the configuration
      Stored stored{info.name, Change::none, num_heads};
      if (architecture.interleaves_heads && info.name.find(".attn_q.") != std::string::npos) {
        stored.change = Change::rows_interleaved;
      } else if (architecture.interleaves_heads && info.name.find(".attn_k.") != std::string::npos) {
        stored.change = Change::rows_interleaved;
        stored.num_heads = num_kv_heads;
      } else if (architecture.adds_one_to_norms && info.name.ends_with("norm.weight")) {
        stored.change = Change::one_added;
      }
      infos_.push_back(info);
      infos_.back().name = translate(architecture, info.name);
      stored_.emplace(infos_.back().name, std::move(stored));
    }
  }

  const std::filesystem::path& path() const noexcept override { return file_->path(); }
  const std::vector<nn::TensorInfo>& tensors() const noexcept override { return infos_; }
  nn::Array tensor(std::string_view name) const override {
    const auto found = stored_.find(std::string(name));
    if (found == stored_.end()) nn::throw_no_tensor(*this, name);
    const Stored& stored = found->second;
    const nn::Array value = file_->tensor(stored.name);
    if (stored.change == Change::one_added) {
      const nn::Array wide = value.to(at::kFloat);
      nn::Array less = nn::Array::empty(value.sizes(), at::kFloat);
      for (std::int64_t i = 0; i < value.numel(); ++i) {
        less.data_ptr<float>()[i] = wide.const_data_ptr<float>()[i] - 1.0f;
      }
      return less.to(value.scalar_type());
    }
    if (stored.change == Change::none) return value;
    if (value.dim() < 1 || value.size(0) % (2 * stored.num_heads) != 0) {
      throw Error(ErrorCode::corrupt,
                  fmt::format("{}: tensor '{}' has {} rows, which {} heads don't share evenly", path().string(),
                              stored.name, value.dim() < 1 ? 0 : value.size(0), stored.num_heads));
    }
    const std::int64_t half = value.size(0) / stored.num_heads / 2;
    std::vector<std::int64_t> order;
    for (std::int64_t head = 0; head < stored.num_heads; ++head) {
      for (std::int64_t part = 0; part < 2; ++part) {
        for (std::int64_t i = 0; i < half; ++i) order.push_back((head * half + i) * 2 + part);
      }
    }
    return value.select_rows(order);
  }

 private:
  struct Stored {
    std::string name;
    Change change;
    std::int64_t num_heads;
  };
  std::shared_ptr<const nn::GgufFile> file_;
  std::vector<nn::TensorInfo> infos_;
  std::unordered_map<std::string, Stored> stored_;
};

// Reads the metadata of one architecture.
class ConfigMaker {
 public:
  ConfigMaker(const nn::GgufFile& file, const Architecture& architecture)
      : file_(file), data_(file.metadata()), architecture_(architecture) {}

  Json make() {
    const std::int64_t hidden = required("embedding_length"), heads = required("attention.head_count");
    config_ = {{"model_type", architecture_.model_type},
               {"architectures", {architecture_.class_name}},
               {"vocab_size", vocabulary()},
               {"hidden_size", hidden},
               {"intermediate_size", required("feed_forward_length")},
               {"num_hidden_layers", required("block_count")},
               {"num_attention_heads", heads},
               {"num_key_value_heads", integer("attention.head_count_kv").value_or(heads)},
               {"max_position_embeddings", required("context_length")},
               {"rope_theta", data_.number(key("rope.freq_base")).value_or(10000.0)},
               {"tie_word_embeddings", !has_tensor("output.weight")}};
    const std::int64_t usual = heads > 0 ? hidden / heads : 0;
    const auto head_dim = integer("attention.key_length");
    config_["head_dim"] = head_dim ? *head_dim : integer("rope.dimension_count").value_or(usual);
    if (const auto eps = data_.number(key("attention.layer_norm_rms_epsilon"))) config_["rms_norm_eps"] = *eps;
    if (architecture_.name == "llama") config_["attention_bias"] = has_tensor("blk.0.attn_q.bias");
    if (architecture_.name == "gemma2") add_gemma(hidden, heads);
    add_rope_scaling();
    add_token("bos_token_id", {"tokenizer.ggml.bos_token_id"});
    add_token("eos_token_id", {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"});
    return std::move(config_);
  }

 private:
  std::string key(std::string_view rest) const { return fmt::format("{}.{}", architecture_.name, rest); }
  std::optional<std::int64_t> integer(std::string_view rest) const { return data_.integer(key(rest)); }
  std::int64_t required(std::string_view rest) const {
    const auto value = integer(rest);
    if (!value) throw Error(ErrorCode::corrupt, fmt::format("{}: no {}", file_.path().string(), key(rest)));
    return *value;
  }
  const nn::TensorInfo* find_tensor(std::string_view name) const {
    const auto found = std::ranges::find(file_.tensors(), name, &nn::TensorInfo::name);
    return found == file_.tensors().end() ? nullptr : &*found;
  }
  bool has_tensor(std::string_view name) const { return find_tensor(name) != nullptr; }

  std::int64_t vocabulary() const {
    const nn::TensorInfo* table = find_tensor("token_embd.weight");
    if (table == nullptr || table->shape.size() != 2) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: no table of embeddings", file_.path().string()));
    }
    return table->shape[0];
  }

  void add_gemma(std::int64_t hidden, std::int64_t heads) {
    config_["attn_logit_softcapping"] = data_.number(key("attn_logit_softcapping")).value_or(50.0);
    config_["final_logit_softcapping"] = data_.number(key("final_logit_softcapping")).value_or(30.0);
    config_["sliding_window"] = integer("attention.sliding_window").value_or(4096);
    // Files don't say it: the 27B model, of 46 layers, divides by another number than the others.
    const bool largest = config_["num_hidden_layers"] == 46;
    config_["query_pre_attn_scalar"] =
        largest ? hidden / std::max<std::int64_t>(heads, 1) : config_["head_dim"].get<std::int64_t>();
  }

  void add_rope_scaling() {
    const std::string type = data_.text(key("rope.scaling.type")).value_or("none");
    if (has_tensor(kRopeFactors)) {
      // One divisor a frequency, whatever made them: longrope's long and short ones alike.
      const nn::Array factors = file_.tensor(kRopeFactors).to(at::kFloat);
      Json divisors = Json::array();
      for (std::int64_t i = 0; i < factors.numel(); ++i) divisors.push_back(factors.const_data_ptr<float>()[i]);
      config_["rope_scaling"] = {{"rope_type", "longrope"},
                                 {"short_factor", divisors},
                                 {"long_factor", divisors},
                                 {"attention_factor", 1.0},
                                 {"original_max_position_embeddings", config_["max_position_embeddings"]}};
      return;
    }
    if (type == "none") return;
    const auto factor = data_.number(key("rope.scaling.factor"));
    if ((type != "linear" && type != "yarn") || !factor) {
      throw Error(ErrorCode::unsupported,
                  fmt::format("{}: {} is '{}'", file_.path().string(), key("rope.scaling.type"), type.substr(0, 80)),
                  "known: none, linear, yarn");
    }
    config_["rope_scaling"] = {{"rope_type", type}, {"factor", *factor}};
    if (type == "yarn") {
      config_["rope_scaling"]["original_max_position_embeddings"] = required("rope.scaling.original_context_length");
    }
  }

  void add_token(const char* name, std::initializer_list<const char*> keys) {
    Json ids = Json::array();
    for (const char* one : keys) {
      const auto id = data_.integer(one);
      if (id && std::ranges::find(ids, Json(*id)) == ids.end()) ids.push_back(*id);
    }
    if (ids.empty()) {
      config_[name] = nullptr;
    } else {
      config_[name] = ids.size() == 1 ? ids[0] : ids;
    }
  }

  const nn::GgufFile& file_;
  const nn::GgufMetadata& data_;
  const Architecture& architecture_;
  Json config_;
};

}  // namespace

GgufCheckpoint read_gguf_checkpoint(std::shared_ptr<const nn::GgufFile> file) {
  const std::string name = file->metadata().text("general.architecture").value_or("");
  const auto architecture = std::ranges::find(kArchitectures, name, &Architecture::name);
  const bool has_experts = file->metadata().integer(name + ".expert_count").value_or(0) > 0;
  if (architecture == kArchitectures.end() || has_experts) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: the architecture '{}'{} is not read from GGUF files", file->path().string(),
                            name.substr(0, 80), has_experts ? " with experts" : ""),
                "known: llama, qwen2, qwen3, gemma2; or use the checkpoint in Hugging Face's layout");
  }
  GgufCheckpoint checkpoint;
  checkpoint.config = ConfigMaker(*file, *architecture).make();
  checkpoint.is_quantized = std::ranges::any_of(
      file->tensors(), [](const nn::TensorInfo& info) { return info.stored_type.starts_with('Q'); });
  const auto heads = checkpoint.config["num_attention_heads"].get<std::int64_t>();
  const auto kv_heads = checkpoint.config["num_key_value_heads"].get<std::int64_t>();
  if (heads < 1 || kv_heads < 1) {
    throw Error(ErrorCode::corrupt,
                fmt::format("{}: {} heads and {} key-value heads", file->path().string(), heads, kv_heads));
  }
  checkpoint.tensors = std::make_shared<RenamedTensors>(std::move(file), *architecture, heads, kv_heads);
  return checkpoint;
}

}  // namespace mobula::models
