#include "mobula/base/control_group.hpp"

#include <fmt/format.h>

#include <fstream>

namespace mobula {

std::vector<std::filesystem::path> ControlGroup::folders() const {
  std::vector<std::filesystem::path> found;
  for (std::filesystem::path group = std::filesystem::path(path).relative_path();; group = group.parent_path()) {
    found.push_back(group.empty() ? top : top / group);
    if (group.empty()) return found;
  }
}

std::vector<ControlGroup> control_groups(std::string_view controller, const std::filesystem::path& root) {
  std::vector<ControlGroup> found;
  const std::filesystem::path groups = root / "sys/fs/cgroup";
  std::ifstream in(root / "proc/self/cgroup");
  // "0::/path" of version 2, "4:cpu,cpuacct:/path" of version 1, whose folder may have either name.
  for (std::string line; std::getline(in, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos || line.size() < second + 2) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 2);
    if (controllers.empty()) found.push_back({2, groups, path});
    if (fmt::format(",{},", controllers).find(fmt::format(",{},", controller)) != std::string::npos) {
      found.push_back({1, groups / controller, path});
    }
  }
  return found;
}

}  // namespace mobula
