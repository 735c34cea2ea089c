/// One global sequence of samples out of several sources, mixed by weights, each in the order of a seed.
///
///     SampleSequence sequence({.sources = {{.num_samples = 1000, .weight = 3}, {.num_samples = 50}}, .seed = 7});
///     while (auto sample = sequence.next()) use(sample->source, sample->sample);
///     checkpoint(sequence.state());                     // one number a source and one more
///
/// What comes next depends on the seed, the weights and how far each source is, and on nothing else: a sequence that is
/// restored goes on exactly, in constant time, and reads nothing of what was consumed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "mobula/data/shards/sample_order.hpp"

namespace mobula::data {

/// What happens when a source has given all its epochs.
enum class WhenEnded {
  leave_out,  ///< the others go on
  stop,       ///< the sequence ends when its turn would come again
};

struct SequenceSource {
  std::uint64_t num_samples = 0;
  double weight = 1;         ///< how often it is drawn, beside the others' weights; 0: never
  std::uint64_t epochs = 0;  ///< 0: for ever
};

struct SampleSequenceOptions {
  std::vector<SequenceSource> sources;
  std::uint64_t seed = 0;
  bool shuffle = true;       ///< false: as they stand
  std::uint64_t window = 0;  ///< see SampleOrderOptions::window
  WhenEnded when_ended = WhenEnded::leave_out;
};

/// A sample of a sequence.
struct SequenceSample {
  std::size_t source = 0;
  std::uint64_t sample = 0;  ///< within the source
  std::uint64_t epoch = 0;   ///< of the source, from 0

  bool operator==(const SequenceSample&) const = default;
};

/// How far a sequence is.
struct SequenceState {
  std::uint64_t position = 0;           ///< samples given
  std::vector<std::uint64_t> consumed;  ///< samples given of each source

  bool operator==(const SequenceState&) const = default;
};

/// A sequence and where it is. Not thread-safe; a copy goes its own way.
class SampleSequence {
 public:
  /// Throws Error(invalid_argument) for no sources, sources without samples, and weights that are negative or all 0.
  explicit SampleSequence(SampleSequenceOptions options);

  /// Gives the next sample; nothing at the end. `weights`, one a source, stand in for those of the options where a
  /// curriculum has changed them.
  std::optional<SequenceSample> next(std::span<const double> weights = {});

  const SequenceState& state() const { return state_; }
  /// Goes to a state. Throws Error(invalid_argument) for one of other sources.
  void restore(SequenceState state);

 private:
  bool ended(std::size_t source) const;

  SampleSequenceOptions options_;
  std::vector<SampleOrder> orders_;
  std::vector<double> weights_;
  SequenceState state_;
};

/// Throws Error(invalid_argument), led by `what`, unless there is one weight a source, none is negative and one is positive.
void check_weights(std::span<const double> weights, std::size_t num_sources, const char* what);

}  // namespace mobula::data
