#include "mobula/data/shards/mds_order.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <numeric>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/data/shards/numpy_random.hpp"

namespace mobula::data {
namespace {

/// Runs Python and returns what the program put into `result`. mosaicml-streaming imports every cloud's client at once, so
/// its packages are stood in for; the modules that count are its own.
Json python(const std::string& program) {
  EXPECT_TRUE(std::filesystem::exists(MOBULA_TEST_PYTHON))
      << MOBULA_TEST_PYTHON << " is missing: run ./dev setup --all";
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() / "test.py", R"(
import importlib, importlib.util, json, pathlib, sys, types, warnings
import numpy as np
site = pathlib.Path(importlib.util.find_spec("numpy").origin).parents[1]
for name in ("streaming", "streaming.base", "streaming.base.partition"):
    module = types.ModuleType(name)
    module.__path__ = [str(site.joinpath(*name.split(".")))]
    sys.modules[name] = module
warnings.simplefilter("ignore")
def plain(value):
    return value.tolist()
)" + program + "\njson.dump(result, open('result.json', 'w'), default=plain)\n");
  const std::string command =
      fmt::format("cd '{}' && '{}' test.py > log 2>&1", folder.path().string(), MOBULA_TEST_PYTHON);
  EXPECT_EQ(std::system(command.c_str()), 0) << read_file(folder.path() / "log");
  return parse_json(read_file(folder.path() / "result.json"), "result.json");
}

TEST(NumpyGenerator, DrawsWhatNumpyDraws) {
  const Json expected = python(R"(
result = []
for seed in (0, 1, 9176, 2**32 + 5, 2**63 + 11):
    rng = np.random.default_rng(seed)
    numbers = np.arange(1000)
    rng.shuffle(numbers)
    pairs = [(i, i + 1) for i in range(77)]
    rng.shuffle(pairs)
    result.append([numbers, [int(rng.integers(3, 3 + 10 ** k)) for k in range(1, 10)], [float(rng.uniform()) for _ in range(5)],
                   [int(a) for a, b in pairs], rng.integers(0, 12345, (9,))])
)");
  std::size_t i = 0;
  for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{9176},
                                   (std::uint64_t{1} << 32) + 5, (std::uint64_t{1} << 63) + 11}) {
    NumpyGenerator generator(seed);
    std::vector<std::int64_t> numbers(1000);
    std::iota(numbers.begin(), numbers.end(), 0);
    generator.shuffle(numbers.begin(), numbers.end());
    std::vector<std::int64_t> pairs(77);
    std::iota(pairs.begin(), pairs.end(), 0);
    generator.shuffle(pairs.begin(), pairs.end());
    std::vector<std::int64_t> integers;
    std::int64_t range = 1;
    for (int k = 1; k < 10; ++k) integers.push_back(generator.integer(3, 3 + (range *= 10)));
    std::vector<double> reals;
    for (int k = 0; k < 5; ++k) reals.push_back(generator.real());
    std::vector<std::int64_t> more;
    for (int k = 0; k < 9; ++k) more.push_back(generator.integer(0, 12345));
    EXPECT_EQ(Json({numbers, integers, reals, pairs, more}), expected[i++]) << "seed " << seed;
  }
}

TEST(MdsOrder, IsThatOfEachOfStreamingsAlgorithms) {
  const Json cases = python(R"(
from streaming.base.shuffle import get_shuffle
result = []
random = np.random.default_rng(3)
for algorithm in ("py1e", "py1br", "py1s", "py2s", "naive"):
    for nodes in (1, 2, 8):
        for epoch in (0, 1, 5):
            sizes = random.integers(1, 400, 23)
            for block in (100, 3000):
                order = get_shuffle(algorithm, sizes, nodes, 9176, epoch, block)
                result.append([algorithm, nodes, epoch, block, sizes, order])
)");
  ASSERT_EQ(cases.size(), 90U);
  for (const Json& one : cases) {
    MdsOrderOptions options{.algorithm = one[0], .num_canonical_nodes = one[1], .epoch = one[2], .block_size = one[3]};
    const auto sizes = one[4].get<std::vector<std::int64_t>>();
    ASSERT_EQ(mds_sample_order(sizes, options), one[5].get<std::vector<std::int64_t>>())
        << options.algorithm << ", " << options.num_canonical_nodes << " nodes, epoch " << options.epoch;
  }
}

TEST(MdsOrder, GivesEveryWorkerItsSamples) {
  const Json cases = python(R"(
orig = importlib.import_module("streaming.base.partition.orig")
result = []
for samples, canonical, nodes, ranks, workers, batch, drop in ((1000, 64, 1, 1, 1, 1, 0), (1003, 8, 2, 3, 2, 4, 0), (517, 2, 4, 2, 3, 5, 0),
                                                               (517, 2, 8, 3, 1, 7, 40), (999, 4, 4, 8, 2, 3, 100), (64, 64, 2, 1, 1, 2, 0)):
    ids = orig.get_partitions_orig(samples, canonical, nodes, ranks, workers, batch, drop)
    result.append([[samples, canonical, nodes, ranks, workers, batch, drop], ids.reshape(nodes, ranks, workers, -1)])
)");
  for (const Json& one : cases) {
    const auto given = one[0].get<std::vector<std::int64_t>>();
    const MdsPartitionOptions options{.num_canonical_nodes = given[1],
                                      .num_nodes = given[2],
                                      .ranks_per_node = given[3],
                                      .workers_per_rank = given[4],
                                      .batch_size = given[5],
                                      .drop_first = given[6]};
    for (std::int64_t node = 0; node < given[2]; ++node) {
      for (std::int64_t rank = 0; rank < given[3]; ++rank) {
        for (std::int64_t worker = 0; worker < given[4]; ++worker) {
          const Json& expected =
              one[1][static_cast<std::size_t>(node)][static_cast<std::size_t>(rank)][static_cast<std::size_t>(worker)];
          ASSERT_EQ(Json(mds_partition(given[0], options, node, rank, worker)), expected)
              << one[0] << ": node " << node << ", rank " << rank << ", worker " << worker;
        }
      }
    }
  }
}

TEST(MdsOrder, RefusesWhatHasNoOrder) {
  const std::vector<std::int64_t> sizes = {3, 4};
  EXPECT_THROW(mds_sample_order(sizes, {.algorithm = "py1x"}), Error);
  EXPECT_THROW(mds_sample_order(sizes, {.algorithm = "py1e", .num_canonical_nodes = 64}), Error);
  EXPECT_THROW(mds_sample_order(sizes, {.num_canonical_nodes = 0}), Error);
  EXPECT_THROW(mds_sample_order(std::vector<std::int64_t>{-1}, {.num_canonical_nodes = 1}), Error);
  EXPECT_THROW(mds_partition(100, {.num_canonical_nodes = 3, .num_nodes = 2}, 0, 0, 0), Error);
  EXPECT_THROW(mds_partition(10, {.num_canonical_nodes = 64}, 0, 0, 0), Error);
  EXPECT_THROW(mds_partition(100, {.num_canonical_nodes = 2}, 1, 0, 0), Error);
}

}  // namespace
}  // namespace mobula::data
