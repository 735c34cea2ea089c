#include "mobula/models/qwen2/windows.hpp"

#include "mobula/models/decoder/read_config.hpp"

namespace mobula::models {

void read_qwen_windows(CompletedConfig& json, DecoderConfig& config) {
  const bool slides = json.boolean("use_sliding_window", false);
  json.integer("max_window_layers", 28, 0, 4096);
  const bool none = json.json().contains("sliding_window") && json.json()["sliding_window"].is_null();
  const std::int64_t window = slides && !none ? json.integer("sliding_window", 4096) : 0;
  const auto sliding =
      read_sliding_layers(json, config.layers.size(), [](const CompletedConfig& c, std::int64_t layer) {
        const Json& read = c.reader().json();
        const bool has_window = read.contains("sliding_window") && !read["sliding_window"].is_null();
        return c.reader().boolean("use_sliding_window", false) && has_window &&
               layer >= c.reader().integer("max_window_layers", 28, 0, 4096);
      });
  for (std::size_t i = 0; i < sliding.size(); ++i) config.layers[i].window = sliding[i] ? window : 0;
  write_layer_types(json, sliding);
}

}  // namespace mobula::models
