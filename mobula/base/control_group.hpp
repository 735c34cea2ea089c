/// Control groups that this process lies in (Linux cgroups; containers, Slurm, systemd).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace mobula {

/// A control group that accounts for memory.
struct MemoryGroup {
  int version = 2;            ///< of control groups: 1 or 2
  std::filesystem::path top;  ///< where the groups are mounted
  std::string path;  ///< of the group below it, as the system tells it: inside a container it may be the host's
};

/// Returns the groups that account for this process's memory, as /proc/self/cgroup lists them. `root`: where proc and sys are
/// mounted; tests name a folder of their own.
std::vector<MemoryGroup> memory_groups(const std::filesystem::path& root = "/");

}  // namespace mobula
