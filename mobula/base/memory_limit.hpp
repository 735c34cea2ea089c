/// How much memory this process may use.
#pragma once

#include <cstdint>
#include <filesystem>

namespace mobula {

/// Returns the bytes of memory that the process may use: the machine's, or what a control group (versions 1 and 2; containers,
/// Slurm, systemd) allows it or one of the groups around it. `root`: where proc and sys are mounted; tests name a folder of
/// their own.
std::uint64_t memory_limit(const std::filesystem::path& root = "/");

}  // namespace mobula
