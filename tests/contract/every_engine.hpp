/// The engines that a contract test runs on: one more line here, and every test of the suite holds it to the contract.
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "mobula/core.hpp"

namespace contract {

struct EngineCase {
  std::string name;
  mobula::RuntimeOptions options;
};
inline void PrintTo(const EngineCase& engine, std::ostream* out) {
  *out << engine.name;
}

inline std::vector<EngineCase> every_engine() {
  return {
      {"threads", {.isolation = mobula::Isolation::thread, .num_cpus = 2, .resources = {{"scanner", 1}}}},
      {"processes", {.isolation = mobula::Isolation::process, .num_cpus = 2, .resources = {{"scanner", 1}}}},
  };
}
/// Those whose tasks run in processes, and survive their deaths.
inline std::vector<EngineCase> engines_with_processes() {
  return {{"processes", {.isolation = mobula::Isolation::process, .num_cpus = 2, .resources = {{"scanner", 1}}}}};
}

/// A test with a runtime on one of the engines.
class EveryEngine : public testing::TestWithParam<EngineCase> {
 protected:
  mobula::Runtime rt{GetParam().options};
};

inline std::string engine_name(const testing::TestParamInfo<EngineCase>& info) {
  return info.param.name;
}

}  // namespace contract
