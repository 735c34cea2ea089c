/// What the driver tells a rank at its start, on top of what a gang does.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "mobula/core/local/code_address.hpp"

namespace mobula::train {

struct RankStart {
  CodeAddress function;  ///< the train function
  std::filesystem::path directory;
  std::string argument;
  int threads = 1;
  int restarts = 0;
};

/// Encodes a start as the gang's argument.
std::string encode(const RankStart& start);
/// Reads it back. Throws Error(corrupt).
RankStart decode_rank_start(std::string_view bytes);

}  // namespace mobula::train
