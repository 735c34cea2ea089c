/// How much of the machine's processors this process may use.
#pragma once

#include <filesystem>

namespace mobula {

/// Returns how many threads can compute at once: the processors that the process may run on (taskset, cpusets), or fewer where a
/// control group around it has a quota (docker --cpus, Kubernetes' limits, CPUQuota), rounded up. At least 1. `root`: where proc
/// and sys are mounted; tests name a folder of their own.
int num_processors(const std::filesystem::path& root = "/");

}  // namespace mobula
