/// The library that tells processes of workers what other layers know: tokenizers, chat templates, models.
#pragma once

#include <string>

namespace mobula::data {

/// Names a shared library with a function `extern "C" void mobula_know_for_data()`, which calls know_tokenizers(),
/// know_models() and the like: workers in other processes load it before they run steps. Empty: none.
void set_known_library(std::string path);
/// Returns what was set.
std::string known_library();
/// Loads such a library and calls its function, once in a process; does nothing for an empty path. Throws Error(unavailable).
void load_known_library(const std::string& path);

}  // namespace mobula::data
