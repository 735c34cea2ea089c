#include "mobula/data/plan/row_tracks.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "mobula/base/files.hpp"
#include "mobula/core.hpp"
#include "mobula/data/dataset.hpp"
#include "mobula/data/plan/worker_steps.hpp"
#include "mobula/data/rows/map.hpp"

namespace mobula::data {
namespace {

struct Row {
  std::int64_t id;
  std::vector<std::int64_t> tokens;
};

constexpr int kRowsOfFile = 700;

/// Three files; row i of file f has the id 3 i + f, and f + 1 tokens.
class RowTracksTest : public testing::Test {
 protected:
  RowTracksTest() {
    for (int file = 0; file < 3; ++file) {
      std::string text;
      for (int row = 0; row < kRowsOfFile; ++row)
        text += fmt::format("{{\"id\": {}, \"tokens\": {}}}\n", 3 * row + file,
                            std::vector<std::string>{"[0]", "[0, 1]", "[0, 1, 2]"}[static_cast<std::size_t>(file)]);
      write_file_atomic(path(fmt::format("in{}.jsonl", file)), text);
    }
    options_.row_origins = true;
    options_.token_column = "tokens";
  }
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  Dataset rows() const {
    ReadOptions read;
    read.piece_bytes = 3000;
    return Dataset::read(path("in*.jsonl"), "jsonl", read);
  }
  /// Compares what the manifest tells of rows and tokens with the rows that came out.
  void expect_exact(const Dataset& dataset, const std::string& what) const {
    std::map<std::string, std::pair<std::int64_t, std::int64_t>> expected;
    for (int file = 0; file < 3; ++file) expected[path(fmt::format("in{}.jsonl", file))] = {0, 0};
    const RunResult result = dataset.for_each(
        [&](const RecordBatchPointer& batch) {
          for (const Row& row : rows_of<Row>(batch)) {
            auto& [rows, tokens] = expected[path(fmt::format("in{}.jsonl", row.id % 3))];
            ++rows;
            tokens += static_cast<std::int64_t>(row.tokens.size());
          }
          return true;
        },
        options_);
    const auto source = std::find_if(result.manifest.begin(), result.manifest.end(),
                                     [](const Json& each) { return !each.at("files").empty(); });
    ASSERT_NE(source, result.manifest.end()) << what;
    for (const Json& file : source->at("files")) {
      const auto& [rows, tokens] = expected.at(file.at("file"));
      EXPECT_EQ(file.at("read"), kRowsOfFile) << what;
      EXPECT_EQ(file.at("rows"), rows) << what << ": " << file;
      EXPECT_EQ(file.at("tokens"), tokens) << what << ": " << file;
    }
    EXPECT_EQ(source->at("files").size(), 3U) << what;
  }

  TemporaryDirectory folder_;
  RunOptions options_;
};

TEST_F(RowTracksTest, KnowTheFilesOfRowsBehindOperatorsThatMixThem) {
  const std::string some = "id % 5 != 1 and (id % 3 != 1 or id > 900) and id % 3 != 2";
  expect_exact(rows().filter(some), "filter");
  expect_exact(rows().sort({{"id", true}}).filter(some), "sort");
  expect_exact(rows().filter(some).random_shuffle(3).filter("id > 50").limit(500), "shuffle and limit");
  expect_exact(rows().random_shuffle(3, 77).filter(some), "windows");
  expect_exact(rows().repartition(13).filter(some).sample(0.5, 1), "repartition and sample");
  expect_exact(rows().sort({{"id", true}}).stage(2).random_shuffle(1).stage().filter(some), "stages");
  expect_exact(rows().with({{"k", "id % 7"}}).join(Dataset::range(4).rename({{"id", "k"}}), {"k"}).drop({"k"}), "join");
  expect_exact(rows().zip(Dataset::range(3 * kRowsOfFile).rename({{"id", "n"}})).filter("n % 2 == 0").drop({"n"}),
               "zip");
  expect_exact(rows().filter("id < 0").sort({{"id", false}}), "nothing");
  const auto twice = flat_map<Row>(rows().sort({{"id", true}}), [](const Row& row) {
    return std::vector<Row>(static_cast<std::size_t>(row.id % 4), row);
  });
  expect_exact(twice.filter(some), "flat_map");
  expect_exact(rows().random_shuffle(2).union_with({rows().filter("id < 0")}).filter(some), "union");
}

TEST_F(RowTracksTest, KnowTheFilesOfRowsThatWereOnDisk) {
  options_.memory = 200000;  // of which operators have a part: the rows lie in files
  expect_exact(rows().sort({{"id", true}}).filter("id % 5 != 1"), "sort");
  expect_exact(rows().random_shuffle(3).filter("id % 5 != 1"), "shuffle");
  expect_exact(rows().join(rows().rename({{"tokens", "others"}}), {"id"}).drop({"others"}).filter("id % 5 != 1"),
               "join");
}

TEST_F(RowTracksTest, KnowTheFilesOfRowsThatWorkersLeaveOut) {
  Runtime runtime(RuntimeOptions{.num_cpus = 2});
  const auto sorted = rows().sort({{"id", true}});
  const std::string steps =
      "- filter: \"id % 5 != 1\"\n- with: {id: \"id + 3 * cast(if(id == 8, 'x', '1'), 'int64')\"}\n";
  options_.on_error = {.max_skipped = 1, .dead_letter = path("dead.jsonl")};
  expect_exact(run_in_workers(sorted, steps, {.max_actors = 2, .batch_size = 100}), "workers");
  const Json dead = parse_json(read_file(path("dead.jsonl")), "dead letter");
  EXPECT_EQ(dead.at("where"), path("in2.jsonl") + ": row 3");
  EXPECT_NE(dead.at("operator").get<std::string>().find("workers: with(id = "), std::string::npos) << dead;
  EXPECT_EQ(dead.at("row").at("id"), 8);
}

TEST_F(RowTracksTest, NameFileAndRowOfBadRowsBehindASort) {
  options_.on_error = {.max_skipped = 10, .dead_letter = path("dead.jsonl")};
  const auto bad = rows().sort({{"id", true}}).repartition(50).with({{"n", "cast(if(id == 301, 'x', '1'), 'int64')"}});
  EXPECT_EQ(bad.count(options_).rows, 3 * kRowsOfFile - 1);
  EXPECT_EQ(parse_json(read_file(path("dead.jsonl")), "dead letter").at("where"), path("in1.jsonl") + ": row 101");
}

TEST_F(RowTracksTest, GoThroughTheStagesAndPartsOfAResumedRun) {
  WriteOptions parts;
  parts.resume = true;
  parts.part_rows = 300;
  const auto sorted = rows().sort({{"id", true}}).filter("id % 3 == 1 or id < 300");
  for (int run = 0; run < 2; ++run) {
    const Json manifest = sorted.write(path("out"), "parquet", parts, options_).manifest;
    std::vector<std::int64_t> counts;
    for (const Json& file : manifest.at(0).at("files")) counts.push_back(file.at("rows"));
    EXPECT_EQ(counts, (std::vector<std::int64_t>{100, kRowsOfFile, 100})) << run;
    std::filesystem::remove(path("out/part-00003.parquet"));
  }
}

}  // namespace
}  // namespace mobula::data
