/// Test-only: runs a Python script of this folder and reads the JSON lines that it prints.
#pragma once

#include <string>
#include <vector>

#include "mobula/base/json.hpp"

namespace mobula::text {

/// Tells whether the test that asks is to be left out (MOBULA_TEST_WITHOUT names "python").
bool without_python();

/// Runs reference/SCRIPT with the Python that ./dev test prepares ($MOBULA_PYTHON names another). Throws with the script's
/// output where it fails, saying what to install.
std::vector<Json> run_reference(const std::string& script, const std::vector<std::string>& arguments = {});

}  // namespace mobula::text
