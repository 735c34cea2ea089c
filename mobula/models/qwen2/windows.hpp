/// Which layers of Qwen models slide over a window.
#pragma once

#include "mobula/models/completed_config.hpp"
#include "mobula/models/decoder/config.hpp"

namespace mobula::models {

/// Sets the layers' windows from use_sliding_window, sliding_window, max_window_layers and layer_types, as Qwen 2 and 3
/// mean them: the first max_window_layers layers see everything.
void read_qwen_windows(CompletedConfig& json, DecoderConfig& config);

}  // namespace mobula::models
