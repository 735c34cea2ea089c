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
  int nearest = 0;    ///< embed: print so many lines of `input` that are most like each of `texts`
};

}  // namespace mobula::cli
