/// Runs one stretch of a pipeline: pieces of a source, a chain of operators fused over each block, one sink.
/// Internal to this layer: names Arrow's types.
///
/// Every thread does what is most urgent: hand finished blocks to the sink in the order of the source, else take the
/// next piece and run it through the whole chain. No piece starts that is more than `window` pieces ahead of the sink,
/// so that a slow sink holds the source back and memory stays bounded.
#pragma once

#include <arrow/type_fwd.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/data/sources/source.hpp"

namespace mobula::data {

/// What one operator did. Written by many threads.
struct OperatorStatistics {
  std::string name;
  std::atomic<std::int64_t> rows{0};   ///< handed on
  std::atomic<std::int64_t> bytes{0};  ///< handed on
  std::atomic<std::int64_t> busy_ns{0};
};

/// The rows of one file that a stretch handed on.
struct FileRows {
  std::int64_t rows = 0;
  std::int64_t tokens = 0;  ///< in their lists of tokens
};

/// What a stretch did. `operators` is filled before the first thread starts; the rest is written by many.
struct StretchStatistics {
  std::vector<std::unique_ptr<OperatorStatistics>> operators;  ///< source, operators, sink
  std::atomic<bool> running{false};
  std::atomic<std::int64_t> started_ns{0};  ///< by the steady clock
  std::atomic<std::int64_t> ended_ns{0};    ///< 0 while it runs
  std::atomic<int> num_threads{0};
  std::atomic<std::int64_t> waited_for_sink_ns{0};    ///< threads idle because the window was full
  std::atomic<std::int64_t> waited_for_source_ns{0};  ///< threads idle because the source had nothing to give
  mutable std::mutex files_mutex;
  std::map<std::string, FileRows> files;               ///< of rows whose file is known
  std::vector<const StretchStatistics*> handed_on_by;  ///< the stretches before, whose files these are
  std::atomic<bool> lost_rows{false};  ///< rows were not known any more: the stretches before know more of files
};

/// What was read of one source. Thread-safe.
class SourceRows {
 public:
  explicit SourceRows(std::string name) : name_(std::move(name)) {}
  void add(const Block& block);
  /// Returns {"source", "rows", "files": {file: rows}}.
  Json to_json() const;

 private:
  std::string name_;
  mutable std::mutex mutex_;
  std::int64_t rows_ = 0;
  std::map<std::string, std::int64_t> files_;
};

/// Changes blocks one by one. change() is called by several threads at once.
class BlockOperator {
 public:
  virtual ~BlockOperator() = default;
  virtual std::string describe() const = 0;
  /// Returns the columns that come out. Throws Error where the operator does not fit the columns that go in.
  virtual std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) = 0;
  /// Tells whether one row comes out for each that goes in, in their order, save bad ones.
  virtual bool keeps_rows() const { return true; }
  /// Changes a block, and what it knows of its rows' origin.
  virtual void change(Block& block) const = 0;
  /// Returns what rows must meet to come out; null where the operator is no filter.
  virtual std::shared_ptr<const Expression> predicate() const { return nullptr; }
  /// Returns the columns that the operator reads; nothing where it may read all.
  virtual std::optional<std::vector<std::string>> reads() const { return std::nullopt; }
  /// Tells whether no column comes out that is not among reads().
  virtual bool narrows() const { return false; }
};

/// What a sink made out of a block, on any thread.
struct Prepared {
  virtual ~Prepared() = default;
  std::int64_t rows = 0;
};

/// Where blocks end.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual std::string describe() const = 0;
  /// Called once, before all else.
  virtual void open(const std::shared_ptr<arrow::Schema>& schema) = 0;
  /// Does the work that needs no order, such as formatting. Called by several threads at once.
  virtual std::unique_ptr<Prepared> prepare(Block block);
  /// Takes what prepare() made, in the order of the source, one at a time. Returns false when it wants no more.
  virtual bool consume(std::unique_ptr<Prepared> prepared) = 0;
  /// Called once, after the last block, unless something failed.
  virtual void finish() {}
};

/// A block as it is: what Sink::prepare makes by default.
struct PreparedBlock : Prepared {
  Block block;
};

struct ExecuteOptions {
  int num_threads = 0;       ///< 0: one a core
  int window = 0;            ///< pieces ahead of the sink; 0: threads + 2
  bool ordered = true;       ///< false: the sink gets pieces as they are ready
  std::string token_column;  ///< whose lists are counted by file; empty: none
};

/// The stretches of a run, in the order in which they began. Thread-safe: a view of progress looks at it while it grows.
class RunStatistics {
 public:
  StretchStatistics& add();
  /// Adds what a source has to tell to its name.
  void note(StretchStatistics& stretch, const std::string& text);
  /// Returns those that have begun: [{"operators": [{"name", "rows", "bytes", "busy_s"}], "threads", "seconds", "done",
  /// "blocked": [{"on": source, "seconds"}, {"on": sink, "seconds"}]}], seconds summed over threads where they are blocked or
  /// busy.
  Json to_json() const;

  /// Adds a source, to be told what is read of it.
  std::shared_ptr<SourceRows> add_source(std::string name);
  /// Returns what went into the run: {"sources": [{"source", "rows", "files": {file: rows}}], "left": {file: [rows, tokens]}}:
  /// what was read, and what was left of it where rows were last told apart by file (a sort or a shuffle mixes them).
  Json manifest() const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<StretchStatistics>> stretches_;
  std::vector<std::shared_ptr<SourceRows>> sources_;
};

/// Runs source to sink and returns when the sink has finished. Throws the error of the earliest piece that failed.
void execute(Source& source, const std::vector<std::unique_ptr<BlockOperator>>& operators, Sink& sink,
             const ExecuteOptions& options, StretchStatistics& statistics);

/// Returns the bytes that a batch's buffers hold, slices counted by their length.
std::int64_t batch_bytes(const arrow::RecordBatch& batch);

}  // namespace mobula::data
