#include "mobula/base/control_group.hpp"

#include <fstream>

namespace mobula {

std::vector<MemoryGroup> memory_groups(const std::filesystem::path& root) {
  std::vector<MemoryGroup> found;
  const std::filesystem::path groups = root / "sys/fs/cgroup";
  std::ifstream in(root / "proc/self/cgroup");
  // "0::/path" of version 2, "4:memory:/path" of version 1.
  for (std::string line; std::getline(in, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos || line.size() < second + 2) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 2);
    if (controllers.empty()) found.push_back({2, groups, path});
    if (controllers == "memory") found.push_back({1, groups / "memory", path});
  }
  return found;
}

}  // namespace mobula
