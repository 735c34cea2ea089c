/// What datasets need of other layers.
#pragma once

namespace mobula::cli {

/// Lets mobula::data read tokenizers and chat templates (data/preprocess/model_inputs.hpp), load models (data/preprocess/models.hpp;
/// libtorch is loaded with the first one), and tell its workers in other processes how.
void know_text_models();

}  // namespace mobula::cli
