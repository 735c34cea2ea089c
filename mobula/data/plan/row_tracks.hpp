/// Where the rows of a run came from, kept with them through operators that mix rows of many files. Internal to this layer.
///
/// Only where somebody asks (PlanContext::tracks): rows that a sort, a shuffle or the like takes in get a column of numbers,
/// 8 bytes a row, which spills and moves as the other columns do, and is taken out of what the operator gives.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "mobula/data/engine/executor.hpp"

namespace mobula::data {

/// What the numbers of one run stand for. Thread-safe.
class RowTracks : public std::enable_shared_from_this<RowTracks> {
 public:
  /// Returns the columns with that of the numbers behind them.
  static std::shared_ptr<arrow::Schema> add_column(const std::shared_ptr<arrow::Schema>& schema);
  /// Returns the columns without that of the numbers.
  static std::shared_ptr<arrow::Schema> remove_column(const std::shared_ptr<arrow::Schema>& schema);

  /// Adds the column to a block's batch.
  void add_to(Block& block);
  /// Takes the column out of a block's batch; the block knows of its rows' origin what it tells.
  void take_from(Block& block);

  /// Returns the file of a row with this number; null for none.
  const std::string* file(std::uint64_t number) const;
  /// Names the row with this number, or as much as is known.
  std::string describe(std::uint64_t number) const;

 private:
  /// The rows that came in one block.
  struct Entry {
    std::shared_ptr<const std::string> file;
    std::shared_ptr<const RowOrigin> origin;
  };
  /// Returns null for a row of which nothing is known.
  const Entry* entry(std::uint64_t number) const;

  mutable std::mutex mutex_;
  std::deque<Entry> entries_;  ///< which stay where they are
};

/// Gives a source's rows with the column.
std::unique_ptr<Source> track(std::unique_ptr<Source> source, std::shared_ptr<RowTracks> tracks);
/// Takes the column out of a source's rows. `handed_on_by`: the stretches that the rows went through before.
std::unique_ptr<Source> untrack(std::unique_ptr<Source> source, std::shared_ptr<RowTracks> tracks,
                                std::vector<const StretchStatistics*> handed_on_by);
/// Gives rows with the column to an operator, and takes it out of what comes back.
std::unique_ptr<BlockOperator> track(std::unique_ptr<BlockOperator> op, std::shared_ptr<RowTracks> tracks);

/// Gives rows with the column to another sink.
class TrackedSink : public Sink {
 public:
  /// `sink` must outlive this one.
  TrackedSink(Sink& sink, std::shared_ptr<RowTracks> tracks) : sink_(sink), tracks_(std::move(tracks)) {}
  std::string describe() const override { return sink_.describe(); }
  void open(const std::shared_ptr<arrow::Schema>& schema) override { sink_.open(RowTracks::add_column(schema)); }
  std::unique_ptr<Prepared> prepare(Block block) override {
    tracks_->add_to(block);
    return sink_.prepare(std::move(block));
  }
  bool consume(std::unique_ptr<Prepared> prepared) override { return sink_.consume(std::move(prepared)); }
  void finish() override { sink_.finish(); }

 private:
  Sink& sink_;
  std::shared_ptr<RowTracks> tracks_;
};

}  // namespace mobula::data
