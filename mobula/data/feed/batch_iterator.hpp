/// A dataset's rows as batches of one size, made ahead by a thread of its own.
///
///     for (const RecordBatchPointer& batch : iter_batches(dataset, {.batch_size = 32})) train(batch);
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>

#include "mobula/data/dataset.hpp"

namespace mobula::data {

struct IterOptions {
  std::int64_t batch_size = 256;  ///< rows; 0: batches as they come, without a copy
  bool drop_last = false;         ///< leaves out a last batch of fewer rows
  int prefetch = 2;               ///< batches that wait ready
  RunOptions run;
};

/// The batches of one run. Move-only; not thread-safe. Going away early stops the run.
class BatchIterator {
 public:
  BatchIterator(const Dataset& dataset, IterOptions options);
  BatchIterator(BatchIterator&&) noexcept;
  BatchIterator& operator=(BatchIterator&&) noexcept;
  ~BatchIterator();

  /// Returns the next batch; null at the end. Throws what stopped the run.
  RecordBatchPointer next();

  /// For range-for: reads one batch ahead of `*`.
  class Position {
   public:
    explicit Position(BatchIterator* batches) : batches_(batches) { ++*this; }
    const RecordBatchPointer& operator*() const { return batch_; }
    Position& operator++() {
      batch_ = batches_->next();
      return *this;
    }
    bool operator==(std::default_sentinel_t) const { return batch_ == nullptr; }

   private:
    BatchIterator* batches_;
    RecordBatchPointer batch_;
  };
  Position begin() { return Position(this); }
  static std::default_sentinel_t end() { return {}; }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Starts a run of the dataset whose rows come as batches.
inline BatchIterator iter_batches(const Dataset& dataset, IterOptions options = {}) {
  return {dataset, std::move(options)};
}

}  // namespace mobula::data
