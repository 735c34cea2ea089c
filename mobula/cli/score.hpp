/// Options of `mobula score`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mobula::cli {

struct ScoreOptions {
  std::string model;
  std::vector<std::int32_t> ids;
  std::optional<std::string> text;
  std::string input;    ///< one JSON array of ids a line
  std::string adapter;  ///< folder of an adapter; empty: none
  std::string dtype;    ///< empty: the checkpoint's own
};

}  // namespace mobula::cli
