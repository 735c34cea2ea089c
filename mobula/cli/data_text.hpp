/// What datasets need of the layer of text.
#pragma once

namespace mobula::cli {

/// Lets mobula::data read tokenizers and chat templates (data/preprocess/model_inputs.hpp).
void know_text_models();

}  // namespace mobula::cli
