#include "mobula/core/local/oom_watch.hpp"

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "mobula/base/control_group.hpp"

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
  for (const ControlGroup& group : control_groups("memory", root)) {
    // Inside a container the path may be the host's: then the container's own group is at the top.
    const char* const name = group.version == 2 ? "memory.events" : "memory.oom_control";
    found.push_back(group.top / group.path / name);
    found.push_back(group.top / name);
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
