/// The writing side of a run: a queue of records and the thread that writes them in batches.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "mobula/track/database.hpp"
#include "mobula/track/run.hpp"

namespace mobula::track {

struct PointRecord {
  std::string metric;
  MetricPoint point;
};
struct ParamRecord {
  std::string key, value;
};
struct TagRecord {
  std::string key, value;
};
struct ArtifactRecord {
  Artifact artifact;
};
struct TruncateRecord {
  std::int64_t step;
};
struct FinishRecord {
  std::string status;
  double time;
};
using Record = std::variant<PointRecord, ParamRecord, TagRecord, ArtifactRecord, TruncateRecord, FinishRecord>;

/// Writes one run's records in the order they came, a transaction a batch, over a connection of its own.
/// Thread-safe.
class RunRecorder {
 public:
  RunRecorder(std::unique_ptr<Database> database, std::string run_id);
  RunRecorder(const RunRecorder&) = delete;
  RunRecorder& operator=(const RunRecorder&) = delete;
  /// Writes what is left, tries once where writing fails, and logs a warning then.
  ~RunRecorder();

  void add(Record record);
  /// Waits until everything added before is written. Throws the error of the attempt that failed.
  void flush();
  const std::string& run_id() const noexcept { return run_id_; }

 private:
  void work();
  void write(const std::vector<Record>& batch);
  void apply(const PointRecord& record);
  void apply(const ParamRecord& record);
  void apply(const TagRecord& record);
  void apply(const ArtifactRecord& record);
  void apply(const TruncateRecord& record);
  void apply(const FinishRecord& record);
  std::int64_t metric_id(const std::string& name);

  const std::string run_id_;
  std::unique_ptr<Database> database_;              // used by the thread alone
  std::map<std::string, std::int64_t> metric_ids_;  // used by the thread alone

  std::mutex mutex_;
  std::condition_variable wake_;     // the thread: there is something to do
  std::condition_variable written_;  // flush(): a batch was written or failed
  std::vector<Record> queue_;
  std::uint64_t num_added_ = 0;
  std::uint64_t num_written_ = 0;
  std::uint64_t num_dropped_ = 0;  // points refused because the queue was full
  std::uint64_t flush_up_to_ = 0;  // some caller waits for this many
  std::uint64_t num_failures_ = 0;
  std::exception_ptr failure_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace mobula::track
