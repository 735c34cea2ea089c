/// Options of `mobula quickstart`.
#pragma once

#include <cstdint>
#include <string>

namespace mobula::cli {

struct QuickstartOptions {
  std::string out;   ///< the run's folder; empty: runs/quickstart, numbered when taken
  std::string data;  ///< the text; empty: tiny Shakespeare where it is found
  int workers = 2;
  std::int64_t steps = 2000;
  bool no_kill = false;
  bool serve = false;
  int port = 0;
};

}  // namespace mobula::cli
