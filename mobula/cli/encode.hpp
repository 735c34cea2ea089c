/// Options of `mobula embed` and `mobula classify`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mobula::cli {

struct EncodeOptions {
  std::string model;
  std::vector<std::string> texts;
  std::vector<std::int32_t> ids;
  std::string input;  ///< a text a line
  std::string dtype;  ///< empty: the checkpoint's own
};

}  // namespace mobula::cli
