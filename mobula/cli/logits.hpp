/// Options of `mobula logits`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mobula::cli {

struct LogitsOptions {
  std::string model;
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> decoder_ids;  ///< of encoder-decoders
  std::string image;                      ///< of vision models: a PNG, JPEG, PPM or PGM file
  std::string dtype;                      ///< empty: the checkpoint's own
};

}  // namespace mobula::cli
