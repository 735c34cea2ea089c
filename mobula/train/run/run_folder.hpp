/// The folder of a run: what lies where, and the files that grow line by line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/base/json.hpp"

namespace mobula::train {

/// Names inside a run's folder. A value.
struct RunFolder {
  std::filesystem::path root;

  std::filesystem::path config() const { return root / "config.yaml"; }
  std::filesystem::path result() const { return root / "result.json"; }
  std::filesystem::path workers() const { return root / "workers.json"; }
  std::filesystem::path metrics() const { return root / "metrics.jsonl"; }
  std::filesystem::path events() const { return root / "events.jsonl"; }
  std::filesystem::path data() const { return root / "data"; }
  std::filesystem::path checkpoints() const { return root / "checkpoints"; }

  /// Tells whether a run was started here.
  bool holds_run() const;
};

/// A file of JSON lines that other processes may read while it grows. Each line reaches the file in one write.
class LineFile {
 public:
  /// Opens the file for appending; it is made where it is missing. Throws Error(io).
  explicit LineFile(std::filesystem::path path);
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;
  ~LineFile();

  /// Appends a line. Throws Error(io).
  void append(const Json& line);
  /// Makes durable what was appended.
  void sync();

 private:
  std::filesystem::path path_;
  int descriptor_;
};

/// Cuts a file of metrics behind the last line whose "step" is not larger than `step`; a line that is damaged and all
/// behind it go too. Does nothing where there is no such file.
void cut_metrics(const std::filesystem::path& path, std::int64_t step);

/// Writes the list of a gang's processes, atomically: [{"rank","pid","host"}].
void write_workers(const std::filesystem::path& path, const std::vector<std::int64_t>& pids, const std::string& host);

/// Returns the seconds since 1970.
double unix_time();

}  // namespace mobula::train
