/// Samples for training: one global order for a seed, whatever the number of workers, and a cursor for checkpoints.
///
///     auto texts = std::make_shared<SampleStore>(Dataset::read("corpus/", "parquet"));
///     Feed feed({{"texts", texts}}, {.batch_size = 64, .seed = 7}, {.rank = 1, .world_size = 4});
///     while (auto batch = feed.next()) {
///       train(batch->rows);                                // this worker's part of the step
///       checkpoint(feed.cursor());                         // the same on every rank
///     }
///     Feed resumed({{"texts", texts}}, options, {.rank = 0, .world_size = 2}, cursor);
///
/// Every step takes the next batch_size samples of the global order; worker r of W gets those from batch_size * r / W on.
/// So the order does not depend on W, and a cursor of any run goes on in any other, exactly, without reading what was
/// consumed. Sources are mixed by weights that a curriculum may change at a step; documents may be packed into sequences.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/data/feed/sample_store.hpp"
#include "mobula/data/shards/sample_sequence.hpp"
#include "mobula/data/shards/sequence_packer.hpp"

namespace mobula::data {

/// One of the sources that are mixed. All have the same columns.
struct FeedSource {
  std::string name;  ///< in cursors and errors
  std::shared_ptr<const SampleStore> samples;
  double weight = 1;
  std::uint64_t epochs = 0;  ///< 0: for ever
};

/// Other weights from a step on.
struct CurriculumStage {
  std::uint64_t from_step = 0;
  std::vector<double> weights;  ///< one a source; 0: not drawn
};

struct FeedOptions {
  std::uint64_t batch_size = 1;  ///< samples (or packed sequences) of all workers together in a step
  std::uint64_t seed = 0;
  bool shuffle = true;
  /// Samples that are mixed among each other; the windows' order is mixed, too. 0: all samples, which reads pieces of files
  /// again and again unless they fit the store's cache.
  std::uint64_t window = 1 << 16;
  WhenEnded when_ended = WhenEnded::leave_out;
  bool drop_last = false;  ///< leaves out a last step of fewer than batch_size samples
  std::vector<CurriculumStage> curriculum;
  std::string pack_column;  ///< lists of token ids to be packed into sequences; empty: samples are rows
  PackOptions pack;
  int prefetch = 2;  ///< steps that are made ahead, by a thread of the feed; 0: each when it is asked for
};

/// Which part of every step is this worker's.
struct FeedShare {
  int rank = 0;
  int world_size = 1;
};

/// This worker's part of one step. It may be empty where a last step has fewer samples than there are workers.
struct FeedBatch {
  /// The samples, in the global order; of packed sequences the columns `tokens`, `document` and `position` (lists of
  /// PackOptions::length).
  RecordBatchPointer rows;
  std::vector<SequenceSample> samples;  ///< where each row comes from; empty with packing
  std::uint64_t step = 0;               ///< from 0
};

/// The samples of one worker. Move-only; not thread-safe.
class Feed {
 public:
  /// Starts at the beginning, or at a cursor. Throws Error(invalid_argument) naming what a cursor of another feed differs in:
  /// sources, seed, order, packing, curriculum.
  Feed(std::vector<FeedSource> sources, FeedOptions options, FeedShare share = {}, const Json& cursor = nullptr);
  Feed(Feed&&) noexcept;
  Feed& operator=(Feed&&) noexcept;
  ~Feed();

  /// Returns this worker's part of the next step; nothing at the end. Throws what reading threw.
  std::optional<FeedBatch> next();
  /// Returns where the feed is after the steps that next() has returned: the same on every rank, a few hundred bytes.
  const Json& cursor() const;

 private:
  class Maker;
  struct State;
  std::unique_ptr<State> state_;
};

/// Makes one feed for each of `world_size` workers in this process, which share one store of the dataset's rows.
std::vector<Feed> streaming_split(const Dataset& dataset, int world_size, const FeedOptions& options,
                                  const Json& cursor = nullptr, std::uint64_t epochs = 1);

}  // namespace mobula::data
