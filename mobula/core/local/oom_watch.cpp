#include "mobula/core/local/oom_watch.hpp"

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace mobula {
namespace {

namespace fs = std::filesystem;

std::optional<std::uint64_t> read_count(const fs::path& file) {
  std::ifstream in(file);
  std::string name;
  std::uint64_t value = 0;
  while (in >> name >> value) {
    if (name == "oom_kill") return value;
  }
  return std::nullopt;
}

/// Returns where the count may be, the nearest first.
std::vector<fs::path> places(const fs::path& root) {
  std::vector<fs::path> found;
  const fs::path groups = root / "sys/fs/cgroup";
  std::ifstream in(root / "proc/self/cgroup");
  // "0::/path" of version 2, "4:memory:/path" of version 1. Inside a container the path may be the host's: then the
  // container's own group is at the top.
  for (std::string line; std::getline(in, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos || line.size() < second + 2) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 2);
    if (controllers.empty()) {
      found.push_back(groups / path / "memory.events");
      found.push_back(groups / "memory.events");
    } else if (controllers == "memory") {
      found.push_back(groups / "memory" / path / "memory.oom_control");
      found.push_back(groups / "memory/memory.oom_control");
    }
  }
  found.push_back(root / "proc/vmstat");
  return found;
}

}  // namespace

OomWatch::OomWatch(const fs::path& root) {
  for (const fs::path& place : places(root)) {
    if (!read_count(place)) continue;
    file_ = place;
    break;
  }
  num_explained_ = num_kills();
}

std::uint64_t OomWatch::num_kills() const {
  return file_.empty() ? 0 : read_count(file_).value_or(0);
}

bool OomWatch::explains_death(std::uint64_t before) {
  const std::uint64_t now = num_kills();
  if (now <= before || now <= num_explained_) return false;
  // What was counted before this process's life explains nothing of it.
  num_explained_ = std::max(num_explained_, before) + 1;
  return true;
}

}  // namespace mobula
