#include "mobula/data/shards/sample_sequence.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "mobula/base/error.hpp"
#include "mobula/base/random.hpp"
#include "mobula/data/shards/sequence_packer.hpp"

namespace mobula::data {
namespace {

std::vector<SequenceSample> all_of(SampleSequence sequence, std::size_t most) {
  std::vector<SequenceSample> samples;
  while (samples.size() < most) {
    const auto sample = sequence.next();
    if (!sample) break;
    samples.push_back(*sample);
  }
  return samples;
}

TEST(SampleSequence, DrawsByWeightAndContinuesFromAnyState) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Random random(seed);
    SampleSequenceOptions options{.seed = seed, .window = random.below(3) * 10};
    for (std::uint64_t i = 0; i < 1 + random.below(4); ++i)
      options.sources.push_back({1 + random.below(200), 0.5 + random.uniform(), random.below(3)});
    options.when_ended = random.below(2) == 0 ? WhenEnded::stop : WhenEnded::leave_out;
    const auto all = all_of(SampleSequence(options), 3000);
    for (int cut = 0; cut < 5; ++cut) {
      SampleSequence sequence(options);
      const std::uint64_t consumed = random.below(all.size() + 1);
      for (std::uint64_t i = 0; i < consumed; ++i) sequence.next();
      SampleSequence resumed(options);
      resumed.restore(sequence.state());
      const auto rest = all_of(resumed, all.size() - consumed);
      EXPECT_EQ(rest, std::vector<SequenceSample>(all.begin() + static_cast<std::ptrdiff_t>(consumed), all.end()));
    }
  }
  SampleSequenceOptions options{.sources = {{.num_samples = 100, .weight = 3}, {.num_samples = 7, .weight = 1}}};
  std::map<std::size_t, int> drawn;
  for (const auto& sample : all_of(SampleSequence(options), 4000)) ++drawn[sample.source];
  EXPECT_NEAR(drawn[0], 3000, 100);
}

TEST(SampleSequence, GivesEverySampleOfEveryEpochOnceAndThenEnds) {
  const SampleSequenceOptions options{
      .sources = {{.num_samples = 31, .weight = 5, .epochs = 2}, {.num_samples = 17, .weight = 1, .epochs = 3}},
      .seed = 4};
  std::map<std::pair<std::size_t, std::uint64_t>, int> times;
  const auto samples = all_of(SampleSequence(options), 10000);
  EXPECT_EQ(samples.size(), 31u * 2 + 17u * 3);
  for (const auto& sample : samples) ++times[{sample.source, sample.sample}];
  EXPECT_EQ(times.size(), 48u);
  for (const auto& [sample, count] : times) EXPECT_EQ(count, sample.first == 0 ? 2 : 3);
}

TEST(SampleSequence, StopsWhereAnEndedSourceWouldBeDrawn) {
  const SampleSequenceOptions options{.sources = {{.num_samples = 5, .epochs = 1}, {.num_samples = 1000, .epochs = 1}},
                                      .when_ended = WhenEnded::stop};
  const auto samples = all_of(SampleSequence(options), 10000);
  EXPECT_LT(samples.size(), 100u);
}

TEST(SampleSequence, FollowsOtherWeightsWhileTheyAreGiven) {
  SampleSequence sequence({.sources = {{.num_samples = 10}, {.num_samples = 10}}});
  for (int i = 0; i < 50; ++i) EXPECT_EQ(sequence.next(std::vector<double>{0, 1})->source, 1u);
  EXPECT_EQ(sequence.state().consumed, (std::vector<std::uint64_t>{0, 50}));
}

TEST(SampleSequence, RefusesWeightsAndStatesThatDoNotFit) {
  EXPECT_THROW(SampleSequence({}), Error);
  EXPECT_THROW(SampleSequence({.sources = {{.num_samples = 0}}}), Error);
  EXPECT_THROW(SampleSequence({.sources = {{.num_samples = 3, .weight = -1}}}), Error);
  EXPECT_THROW(SampleSequence({.sources = {{.num_samples = 3, .weight = 0}}}), Error);
  SampleSequence sequence({.sources = {{.num_samples = 3}}});
  EXPECT_THROW(sequence.restore({5, {2, 3}}), Error);
  EXPECT_THROW(sequence.restore({5, {2}}), Error);
}

TEST(SequencePacker, SplitsDocumentsOrPadsBehindThem) {
  const std::vector<std::int64_t> document = {1, 2, 3};
  SequencePacker splitting({.length = 5});
  EXPECT_EQ(splitting.add(document), 3u);
  EXPECT_EQ(splitting.add(document), 2u);
  EXPECT_TRUE(splitting.full());
  const PackedSequence split = splitting.finish();
  EXPECT_EQ(split.tokens, (std::vector<std::int64_t>{1, 2, 3, 1, 2}));
  EXPECT_EQ(split.documents, (std::vector<std::int32_t>{0, 0, 0, 1, 1}));
  EXPECT_EQ(split.positions, (std::vector<std::int32_t>{0, 1, 2, 0, 1}));
  SequencePacker whole({.length = 5, .split_documents = false, .padding = 9});
  EXPECT_EQ(whole.add(document), 3u);
  EXPECT_EQ(whole.add(document), 0u);
  EXPECT_TRUE(whole.full());
  const PackedSequence padded = whole.finish();
  EXPECT_EQ(padded.tokens, (std::vector<std::int64_t>{1, 2, 3, 9, 9}));
  EXPECT_EQ(padded.documents, (std::vector<std::int32_t>{0, 0, 0, -1, -1}));
  EXPECT_EQ(whole.add(std::vector<std::int64_t>(7, 1)), 5u);  // longer than a sequence: cut
  EXPECT_THROW(SequencePacker({}), Error);
}

}  // namespace
}  // namespace mobula::data
