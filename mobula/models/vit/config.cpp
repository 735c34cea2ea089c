#include "mobula/models/vit/config.hpp"

#include <fmt/format.h>

#include <tuple>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/models/completed_config.hpp"
#include "mobula/models/labels.hpp"

namespace mobula::models {
namespace {

// A size is one number, or height and width.
std::pair<std::int64_t, std::int64_t> read_size(CompletedConfig& c, const char* key, std::int64_t fallback) {
  constexpr std::int64_t kMost = 1 << 16;
  const auto found = c.json().find(key);
  if (found == c.json().end() || !found->is_array()) {
    const std::int64_t side = c.integer(key, fallback, 1, kMost);
    return {side, side};
  }
  const std::vector<double> sides = c.reader().numbers(key);
  if (sides.size() != 2 || !(sides[0] >= 1 && sides[1] >= 1 && sides[0] <= kMost && sides[1] <= kMost)) {
    throw_invalid(
        fmt::format("config.json: {} is {}, expected a number of pixels or two", key, to_line(*found).substr(0, 80)));
  }
  return {static_cast<std::int64_t>(sides[0]), static_cast<std::int64_t>(sides[1])};
}

}  // namespace

VitConfig VitConfig::from_json(const Json& json) {
  CompletedConfig c(json);
  VitConfig config;
  const std::vector<std::string> architectures = c.reader().texts("architectures");
  const std::string architecture = architectures.empty() ? "ViTForImageClassification" : architectures.front();
  if (architecture != "ViTForImageClassification" && architecture != "ViTModel") {
    throw Error(ErrorCode::unsupported, fmt::format("config.json: architecture '{}' is not supported", architecture),
                "known: ViTForImageClassification, ViTModel");
  }
  c.json()["architectures"] = Json::array({architecture});
  config.classifies = architecture == "ViTForImageClassification";
  config.hidden = c.integer("hidden_size", config.hidden, 1, 1 << 20);
  config.inner = c.integer("intermediate_size", config.inner, 1, 1 << 22);
  config.num_layers = c.integer("num_hidden_layers", config.num_layers, 1, 4096);
  config.num_heads = c.integer("num_attention_heads", config.num_heads, 1, 1 << 16);
  if (config.hidden % config.num_heads != 0) {
    throw_invalid(fmt::format("config.json: hidden_size {} is not a multiple of num_attention_heads {}", config.hidden,
                              config.num_heads));
  }
  std::tie(config.image_height, config.image_width) = read_size(c, "image_size", 224);
  std::tie(config.patch_height, config.patch_width) = read_size(c, "patch_size", 16);
  if (config.num_patches() < 1) throw_invalid("config.json: image_size is smaller than patch_size");
  config.num_channels = c.integer("num_channels", config.num_channels, 1, 1024);
  config.pooler_width = c.integer("pooler_output_size", config.hidden, 1, 1 << 20);
  config.qkv_bias = c.boolean("qkv_bias", true);
  config.norm_eps = c.number("layer_norm_eps", config.norm_eps, 0.0, 1.0);
  config.hidden_dropout = c.number("hidden_dropout_prob", 0.0, 0.0, 0.999);
  config.attention_dropout = c.number("attention_probs_dropout_prob", 0.0, 0.0, 0.999);
  config.initializer_range = c.number("initializer_range", 0.02, 0.0, 10.0);
  config.activation = c.activation("hidden_act", "gelu");
  if (config.classifies) config.labels = read_labels(c);
  config.source = c.json();
  return config;
}

}  // namespace mobula::models
