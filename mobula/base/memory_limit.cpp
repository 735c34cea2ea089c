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
  for (const ControlGroup& group : control_groups("memory", root)) {
    const char* const name = group.version == 2 ? "memory.max" : "memory.limit_in_bytes";
    for (const fs::path& folder : group.folders()) limit = std::min(limit, read_number(folder / name).value_or(limit));
  }
  return limit;
}

}  // namespace mobula
