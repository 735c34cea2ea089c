#include "mobula/data/shards/sample_sequence.hpp"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/random.hpp"

namespace mobula::data {
namespace {

constexpr std::uint64_t kMixtureStream = 0x6d69787475;
constexpr std::uint64_t kSeedStep = 0x9E3779B97F4A7C15;  // sources of one size don't walk in step

}  // namespace

void check_weights(std::span<const double> weights, std::size_t num_sources, const char* what) {
  if (weights.size() != num_sources)
    throw_invalid(fmt::format("{}: {} weights for {} sources", what, weights.size(), num_sources));
  double sum = 0;
  for (const double weight : weights) {
    if (!(weight >= 0) || !std::isfinite(weight))
      throw_invalid(fmt::format("{}: a weight of {}; none below 0 is expected", what, weight));
    sum += weight;
  }
  if (!(sum > 0)) throw_invalid(fmt::format("{}: all weights are 0", what), "give one source a positive weight");
}

SampleSequence::SampleSequence(SampleSequenceOptions options) : options_(std::move(options)) {
  if (options_.sources.empty()) throw_invalid("sample sequence: no sources");
  for (const SequenceSource& source : options_.sources) {
    orders_.emplace_back(SampleOrderOptions{.num_samples = source.num_samples,
                                            .seed = options_.seed + orders_.size() * kSeedStep,
                                            .shuffle = options_.shuffle,
                                            .window = options_.window});
    weights_.push_back(source.weight);
  }
  check_weights(weights_, orders_.size(), "sample sequence");
  state_.consumed.resize(orders_.size());
}

bool SampleSequence::ended(std::size_t source) const {
  const SequenceSource& options = options_.sources[source];
  return options.epochs > 0 && state_.consumed[source] / options.num_samples >= options.epochs;
}

std::optional<SequenceSample> SampleSequence::next(std::span<const double> weights) {
  if (weights.empty()) weights = weights_;
  double sum = 0;
  for (std::size_t i = 0; i < orders_.size(); ++i) {
    if (options_.when_ended == WhenEnded::stop || !ended(i)) sum += weights[i];
  }
  if (!(sum > 0)) return std::nullopt;
  Random random(options_.seed, kMixtureStream);
  random.seek(state_.position);
  double at = random.uniform() * sum;
  std::size_t drawn = orders_.size();
  for (std::size_t i = 0; i < orders_.size(); ++i) {
    if (!(weights[i] > 0) || (options_.when_ended == WhenEnded::leave_out && ended(i))) continue;
    drawn = i;  // rounding may leave nothing for the last of them
    if (at < weights[i]) break;
    at -= weights[i];
  }
  if (ended(drawn)) return std::nullopt;
  const std::uint64_t position = state_.consumed[drawn]++;
  ++state_.position;
  return SequenceSample{drawn, orders_[drawn].sample_at(position), position / options_.sources[drawn].num_samples};
}

void SampleSequence::restore(SequenceState state) {
  std::uint64_t sum = 0;
  for (const std::uint64_t consumed : state.consumed) sum += consumed;
  if (state.consumed.size() != orders_.size() || sum != state.position) {
    throw_invalid(fmt::format("sample sequence: a state of {} sources and {} samples, where {} sources are expected",
                              state.consumed.size(), state.position, orders_.size()),
                  "the sources differ from those of the checkpoint");
  }
  state_ = std::move(state);
}

}  // namespace mobula::data
