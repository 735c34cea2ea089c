/// For tests of values that go to worker processes, which run the test program.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <iomanip>
#include <sstream>
#include <string>

#include "mobula/core/gang.hpp"

namespace mobula::testing {

/// Lets worker processes serve before any test runs. Give one to AddGlobalTestEnvironment.
class ServeWorkers : public ::testing::Environment {
 public:
  void SetUp() override { serve_if_worker(); }
};

/// Tells whether `address` lies in memory that is shared with other processes.
inline bool shared_with_processes(const void* address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t first = 0;
    std::uintptr_t last = 0;
    char rights[5] = {};
    std::istringstream in(line);
    char dash = 0;
    in >> std::hex >> first >> dash >> last >> std::setw(5) >> rights;
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    if (at >= first && at < last) return rights[3] == 's';
  }
  return false;
}

}  // namespace mobula::testing
