/// Tells the deaths that the system caused for lack of memory from other SIGKILLs, by the system's own count of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace mobula {

/// Counts the processes that the system's out-of-memory killer has ended: those of this process's control group where it
/// has one (version 2: memory.events, version 1: memory.oom_control), else those of the machine (/proc/vmstat).
/// Not thread-safe.
class OomWatch {
 public:
  /// `root`: where proc and sys are mounted; tests name a folder of their own.
  explicit OomWatch(const std::filesystem::path& root = "/");

  /// Returns how many were killed since the machine, or the control group, was started; 0 where nobody counts them.
  std::uint64_t num_kills() const;
  /// A process was killed by SIGKILL; `before` is what num_kills() was at its start. Tells whether the system did it. Each
  /// kill that was counted explains one death.
  bool explains_death(std::uint64_t before);

 private:
  std::filesystem::path file_;
  std::uint64_t num_explained_;  ///< of all that were counted
};

}  // namespace mobula
