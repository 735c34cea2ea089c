/// Control groups that this process lies in (Linux cgroups; containers, Slurm, systemd).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace mobula {

/// A control group that accounts for one of the machine's resources.
struct ControlGroup {
  int version = 2;            ///< of control groups: 1 or 2
  std::filesystem::path top;  ///< where the groups are mounted
  std::string path;  ///< of the group below it, as the system tells it: inside a container it may be the host's

  /// Returns the folders of the group and of those around it, the nearest first, and the top last. Inside a container the path may
  /// be the host's: then the container's own group is at the top.
  std::vector<std::filesystem::path> folders() const;
};

/// Returns the groups that account for this process's use of what `controller` names, "memory" or "cpu", as /proc/self/cgroup
/// lists them. `root`: where proc and sys are mounted; tests name a folder of their own.
std::vector<ControlGroup> control_groups(std::string_view controller, const std::filesystem::path& root = "/");

}  // namespace mobula
