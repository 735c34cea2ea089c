#include "mobula/base/memory_limit.hpp"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#include "mobula/base/control_group.hpp"

namespace mobula {
namespace {

namespace fs = std::filesystem;

/// Reads a file that holds one number; one that holds a word ("max") or is not there gives nothing.
std::optional<std::uint64_t> read_number(const fs::path& file) {
  std::ifstream in(file);
  std::uint64_t value = 0;
  if (in >> value) return value;
  return std::nullopt;
}

/// Returns the least limit that a group or one of those around it sets; `name` is the limit's file in each.
std::uint64_t group_limit(const fs::path& top, const std::string& path, const char* name) {
  std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
  // Inside a container the path may be the host's: then the container's own group is at the top.
  for (fs::path group = fs::path(path).relative_path();; group = group.parent_path()) {
    least = std::min(least, read_number(top / group / name).value_or(least));
    if (group.empty()) return least;
  }
}

}  // namespace

std::uint64_t memory_limit(const fs::path& root) {
  std::uint64_t limit = std::numeric_limits<std::uint64_t>::max();
  std::ifstream machine(root / "proc/meminfo");
  std::string key;
  for (std::uint64_t kilobytes = 0; machine >> key >> kilobytes; machine.ignore(64, '\n')) {
    if (key != "MemTotal:") continue;
    limit = kilobytes * 1024;
    break;
  }
  for (const MemoryGroup& group : memory_groups(root)) {
    const char* const name = group.version == 2 ? "memory.max" : "memory.limit_in_bytes";
    limit = std::min(limit, group_limit(group.top, group.path, name));
  }
  return limit;
}

}  // namespace mobula
