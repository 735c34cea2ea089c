/// The directory that a program runs in, for its workers: relative paths mean the same in both.
#pragma once

#include <string>

namespace mobula::data {

/// Returns the directory that this process runs in.
std::string working_directory();
/// Makes a worker run in it, where this machine has it; else, and in threads of the program, nothing changes.
void enter_working_directory(const std::string& directory);

}  // namespace mobula::data
