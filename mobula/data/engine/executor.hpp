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
#include <memory>
#include <string>
#include <vector>

#include "mobula/data/sources/source.hpp"

namespace mobula::data {

/// What one operator did. Written by many threads.
struct OperatorStatistics {
  std::string name;
  std::atomic<std::int64_t> rows{0};   ///< handed on
  std::atomic<std::int64_t> bytes{0};  ///< handed on
  std::atomic<std::int64_t> busy_ns{0};
};

/// What a stretch did.
struct StretchStatistics {
  std::vector<std::unique_ptr<OperatorStatistics>> operators;  ///< source, operators, sink
  std::atomic<std::int64_t> waited_for_sink_ns{0};             ///< threads idle because the window was full
  std::atomic<std::int64_t> waited_for_source_ns{0};           ///< threads idle because the source had nothing to give
};

/// Changes blocks one by one. apply() is called by several threads at once.
class BlockOperator {
 public:
  virtual ~BlockOperator() = default;
  virtual std::string describe() const = 0;
  /// Returns the columns that come out. Throws Error where the operator does not fit the columns that go in.
  virtual std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) = 0;
  virtual std::shared_ptr<arrow::RecordBatch> apply(const Block& block) const = 0;
  /// Tells whether one row comes out for each that goes in, in their order.
  virtual bool keeps_rows() const { return true; }
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
  int num_threads = 0;  ///< 0: one a core
  int window = 0;       ///< pieces ahead of the sink; 0: threads + 2
};

/// Runs source to sink and returns when the sink has finished. Throws the error of the earliest piece that failed.
void execute(Source& source, const std::vector<std::unique_ptr<BlockOperator>>& operators, Sink& sink,
             const ExecuteOptions& options, StretchStatistics& statistics);

/// Returns the bytes that a batch's buffers hold, slices counted by their length.
std::int64_t batch_bytes(const arrow::RecordBatch& batch);

}  // namespace mobula::data
