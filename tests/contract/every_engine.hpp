/// The engines that a contract test runs on: one more line here, and every test of the suite holds it to the contract.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
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

/// Those whose tasks run in processes, and survive their deaths. Ray is among them where tests/contract/ray_contract.py
/// has started a cluster and names it.
inline std::vector<EngineCase> engines_with_processes() {
  std::vector<EngineCase> engines{
      {"processes", {.isolation = mobula::Isolation::process, .num_cpus = 2, .resources = {{"scanner", 1}}}}};
  if (const char* cluster = std::getenv("MOBULA_CONTRACT_RAY")) engines.push_back({"ray", {.engine = cluster}});
  return engines;
}
inline std::vector<EngineCase> every_engine() {
  std::vector<EngineCase> engines = engines_with_processes();
  engines.insert(engines.begin(),
                 {"threads", {.isolation = mobula::Isolation::thread, .num_cpus = 2, .resources = {{"scanner", 1}}}});
  return engines;
}

/// Those of this process: they do what Ray's C++ API has no call for (docs/engines.md).
inline std::vector<EngineCase> embedded_engines() {
  std::vector<EngineCase> engines = every_engine();
  if (engines.back().name == "ray") engines.pop_back();
  return engines;
}

/// A test with a runtime on one of the engines.
class EveryEngine : public testing::TestWithParam<EngineCase> {
 protected:
  bool on_ray() const { return GetParam().name == "ray"; }
  /// Tells whether the engine can cancel tasks at all (docs/engines.md).
  bool cancels() const { return !on_ray(); }

  mobula::Runtime rt{GetParam().options};
};

inline std::string engine_name(const testing::TestParamInfo<EngineCase>& info) {
  return info.param.name;
}

}  // namespace contract
