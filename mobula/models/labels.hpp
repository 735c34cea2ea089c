/// The classes of a classifier in config.json.
#pragma once

#include <string>
#include <vector>

#include "mobula/models/completed_config.hpp"

namespace mobula::models {

/// Reads id2label and num_labels (2 unnamed classes without either), and writes id2label and label2id, from which
/// transformers derives the number; 65536 at most. Throws Error(invalid_argument) naming the key.
std::vector<std::string> read_labels(CompletedConfig& json);

}  // namespace mobula::models
