#include "mobula/data/shards/mds_order.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <numeric>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/data/plan/pipeline.hpp"
#include "mobula/data/rows/typed_rows.hpp"
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

struct Id {
  std::int64_t id;
};

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

TEST(MdsOrder, GivesRowsAsAStreamingDatasetDoes) {
  const TemporaryDirectory folder;
  const std::string shards = (folder.path() / "shards").string();
  WriteOptions write;
  write.part_bytes = 4000;
  Dataset::range(2003).write(shards, "mds", write);
  const Json cases = python("folder = '" + shards + "'\n" + R"(
for name, has in (("torch", {}), ("torch.distributed", {}), ("torch.utils", {}), ("torch.utils.data", {"get_worker_info": None}),
                  ("streaming.base.batching", {}), ("streaming.base.distributed", {})):
    module = types.ModuleType(name)
    module.__path__ = [str(site.joinpath(*name.split(".")))] if name.endswith("batching") else []
    for key, value in has.items(): setattr(module, key, value)
    sys.modules[name] = module
sys.modules["streaming.base"].distributed = sys.modules["streaming.base.distributed"]
sys.modules["streaming.base.partition"].get_partitions = lambda algorithm, *rest: importlib.import_module(
    "streaming.base.partition.orig").get_partitions_orig(*rest)
from streaming.base.batching.random import generate_work_random_batching
from streaming.base.world import World
sizes = np.array([shard["samples"] for shard in json.load(open(folder + "/index.json"))["shards"]])
result = []
for keys, epoch, drop, (nodes, ranks, workers) in (
        ({"shuffle": False, "batch_size": 3}, 0, 0, (1, 1, 1)),
        ({"shuffle": True, "batch_size": 4}, 1, 0, (1, 2, 2)),
        ({"shuffle": True, "shuffle_algo": "py1s", "shuffle_seed": 5, "batch_size": 2}, 2, 10, (1, 2, 1)),
        ({"shuffle": True, "shuffle_algo": "py1br", "shuffle_block_size": 100, "num_canonical_nodes": 4, "batch_size": 5}, 0, 0, (2, 2, 1)),
        ({"shuffle": True, "shuffle_algo": "py2s", "num_canonical_nodes": 2, "batch_size": 3, "replication": 2}, 1, 0, (1, 4, 2)),
        ({"shuffle": True, "batch_size": 3, "replication": 4}, 3, 0, (2, 4, 1)),
        ({"shuffle": True, "batch_size": 3, "replication": 2, "num_canonical_nodes": 8}, 0, 24, (4, 2, 1))):
    given = dict(keys)
    replication = given.pop("replication", 1)
    for rank in range(nodes * ranks):
        for worker in range(workers):
            world = World(nodes, ranks, workers, rank * workers + worker)
            world = world.replicate(replication) if replication > 1 else world
            algorithm = given.get("shuffle_algo", "py1e")
            canonical = given.get("num_canonical_nodes") or (64 if algorithm in ("py1s", "py2s") else 1) * world.num_nodes
            data = types.SimpleNamespace(
                num_canonical_nodes=canonical, batch_size=given["batch_size"], partition_algo="orig", epoch_size=2003,
                initial_physical_nodes=None, shuffle=given["shuffle"], shuffle_algo=algorithm,
                shuffle_seed=given.get("shuffle_seed", 9176),
                shuffle_block_size=given.get("shuffle_block_size") or max(4_000_000 // canonical, 1 << 18),
                resample_streams=lambda epoch: (sizes, np.arange(2003)))
            work = generate_work_random_batching(data, world, epoch, drop)
            ids = work[world.node, world.rank_of_node, world.worker_of_rank].flatten()
            place = dict(epoch=epoch, drop_first=drop, num_nodes=nodes, ranks_per_node=ranks, workers_per_rank=workers, rank=rank, worker=worker)
            result.append([{**keys, **place}, ids])
)");
  ASSERT_EQ(cases.size(), 35U);
  for (const Json& one : cases) {
    std::string order;
    for (const auto& [key, value] : one[0].items())
      order += fmt::format("{}{}: {}", order.empty() ? "" : ", ", key,
                           value.is_string() ? value.get<std::string>() : value.dump());
    const Dataset rows =
        parse_pipeline(fmt::format("source: {{mds: '{}', order: {{{}}}}}", shards, order), "order").dataset;
    std::vector<std::int64_t> expected;
    for (const std::int64_t id : one[1].get<std::vector<std::int64_t>>()) {
      if (id >= 0) expected.push_back(id);
    }
    std::vector<std::int64_t> ids;
    for (const auto& batch : rows.collect()) {
      for (const Id& row : rows_of<Id>(batch)) ids.push_back(row.id);
    }
    ASSERT_EQ(ids, expected) << order;
  }
}

TEST(MdsOrder, RefusesWhatHasNoOrder) {
  EXPECT_THROW(parse_pipeline("source: {mds: x, order: {replication: 2}}", "order"), Error);
  EXPECT_THROW(parse_pipeline("source: {mds: x, order: {rank: 1}}", "order"), Error);
  EXPECT_THROW(parse_pipeline("source: {csv: x.csv, order: {epoch: 1}}", "order"), Error);
  EXPECT_THROW(parse_pipeline("source: {mds: x, order: {shuffle_alg: py1e}}", "order"), Error);
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
