#include "mobula/data/plan/part_runs.hpp"

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>

#include "mobula/base/files.hpp"
#include "mobula/base/random.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/data/describe.hpp"
#include "mobula/data/rows/map_actors.hpp"
#include "mobula/data/storage/storage.hpp"
#include "mobula/data/testing/property_seeds.hpp"

namespace mobula::data {
namespace {
namespace fs = std::filesystem;

class PartRuns : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  static WriteOptions parts_of(std::int64_t rows) {
    WriteOptions options;
    options.resume = true;
    options.part_rows = rows;
    return options;
  }
  /// Returns a column of whole numbers of what was written, in the order of the parts.
  std::vector<std::int64_t> ids(const std::string& name) const {
    std::vector<std::int64_t> values;
    for (const auto& batch : Dataset::read(path(name), "parquet").collect()) {
      const auto& column = static_cast<const arrow::Int64Array&>(*batch->GetColumnByName("id"));
      for (std::int64_t i = 0; i < column.length(); ++i) values.push_back(column.Value(i));
    }
    return values;
  }
  static std::vector<std::int64_t> up_to(std::int64_t end) {
    std::vector<std::int64_t> values;
    for (std::int64_t i = 0; i < end; ++i) values.push_back(i);
    return values;
  }

  TemporaryDirectory folder_;
};

TEST_F(PartRuns, GoOnBehindThePartsThatAreThere) {
  const Dataset rows = Dataset::range(1000);
  EXPECT_EQ(rows.write(path("out/"), "parquet", parts_of(300)).rows, 1000);
  EXPECT_EQ(ids("out"), up_to(1000));
  EXPECT_TRUE(fs::exists(path("out/_SUCCESS")));
  fs::remove(path("out/part-00002.parquet"));
  write_file_atomic(path("out/.part-00002.parquet.1.0.tmp"), "half a fi");
  write_file_atomic(path("out/._part-00002.json.1.0.tmp"), "{");
  const RunResult again = rows.write(path("out/"), "parquet", parts_of(300));
  EXPECT_EQ(again.rows, 300);
  EXPECT_EQ(again.parts_before, 3);
  EXPECT_EQ(ids("out"), up_to(1000));
  EXPECT_FALSE(fs::exists(path("out/.part-00002.parquet.1.0.tmp")));
  EXPECT_FALSE(fs::exists(path("out/._part-00002.json.1.0.tmp")));
  EXPECT_EQ(rows.write(path("out/"), "parquet", parts_of(300)).parts_before, 4);
}

TEST_F(PartRuns, CutRowGroupsAndTextsWhereverPartsEnd) {
  WriteOptions small;
  small.row_group_rows = 70;
  Dataset::range(1000).write_file(path("in.parquet"), "parquet", small);
  const Dataset rows = Dataset::read(path("in.parquet")).filter("id % 3 != 1").with({{"twice", "id * 2"}}).stage(2);
  rows.write(path("a/"), "parquet", parts_of(99));
  std::vector<std::int64_t> expected;
  for (const std::int64_t id : up_to(1000)) {
    if (id % 3 != 1) expected.push_back(id);
  }
  EXPECT_EQ(ids("a"), expected);

  Dataset::range(500).write_file(path("in.csv"), "csv");
  ReadOptions read;
  read.piece_bytes = 300;
  Dataset::read(path("in.csv"), "csv", read).write(path("b/"), "parquet", parts_of(64));
  EXPECT_EQ(ids("b"), up_to(500));
}

TEST_F(PartRuns, HoldTheLimitOfBadRowsOverAllPartsAndWriteEachDownOnce) {
  std::string csv = "id,s\n";
  std::string jsonl;
  std::vector<std::int64_t> good;
  for (int i = 0; i < 500; ++i) {
    const bool unreadable = i % 100 == 50 || i == 63 || i == 64;
    csv += unreadable ? "a,b,c\n" : fmt::format("{},{}\n", i, i % 100 == 20 ? "x" : "1");
    jsonl += unreadable ? "{\n" : fmt::format("{{\"id\": {}, \"s\": \"{}\"}}\n", i, i % 100 == 20 ? "x" : "1");
    if (!unreadable && i % 100 != 20) good.push_back(i);
  }
  write_file_atomic(path("in.csv"), csv);
  write_file_atomic(path("in.jsonl"), jsonl);
  ReadOptions read;
  read.piece_bytes = 700;  // pieces and parts end at different rows
  for (const std::string format : {"csv", "jsonl"}) {
    read.types = {{"s", "string"}, {"id", "int64"}};
    std::atomic<std::int64_t> fails_from = 300;
    const Dataset rows = Dataset::read(path("in." + format), format, read)
                             .with({{"n", "cast(s, 'int64')"}})
                             .map_batches([&](const RecordBatchPointer& batch) {
                               const auto& column = static_cast<const arrow::Int64Array&>(*batch->column(0));
                               for (std::int64_t i = 0; i < column.length(); ++i) {
                                 if (column.Value(i) >= fails_from) throw std::runtime_error("killed");
                               }
                               return batch;
                             });
    RunOptions options;
    options.on_error = {.max_skipped = 12, .dead_letter = path("dead." + format)};
    EXPECT_NE(refusal([&] { rows.write(path(format), "parquet", parts_of(64), options); }).find("killed"),
              std::string::npos);
    fails_from = 1000;
    const RunResult again = rows.write(path(format), "parquet", parts_of(64), options);
    EXPECT_EQ(again.parts_before, 4);
    EXPECT_EQ(again.skipped, 12);
    EXPECT_EQ(ids(format), good);
    std::vector<std::string> wheres;
    const std::string dead = read_file(path("dead." + format));
    for (std::size_t at = 0; at < dead.size();) {
      const std::size_t end = dead.find('\n', at);
      const std::string where = parse_json(dead.substr(at, end - at), "dead letter").at("where");
      wheres.push_back(where.substr(where.rfind(' ') + 1));
      at = end + 1;
    }
    std::sort(wheres.begin(), wheres.end());
    EXPECT_EQ(wheres, (std::vector<std::string>{"121", "151", "21", "221", "251", "321", "351", "421", "451", "51",
                                                "64", "65"}));
    // A run that finds all there tells the same.
    fs::remove(options.on_error.dead_letter);
    EXPECT_EQ(rows.write(path(format), "parquet", parts_of(64), options).skipped, 12);
    EXPECT_EQ(read_file(path("dead." + format)), dead);
    // The limit is on all parts, whichever run has made them.
    fs::remove(path(format + "/part-00007.parquet"));
    options.on_error.max_skipped = 11;
    EXPECT_NE(refusal([&] { rows.write(path(format), "parquet", parts_of(64), options); }).find("(after 11 rows"),
              std::string::npos);
    options.on_error.max_skipped = 10;
    EXPECT_NE(refusal([&] { rows.write(path(format), "parquet", parts_of(64), options); }).find("have left out 11"),
              std::string::npos);
  }
}

TEST_F(PartRuns, NoticeThatRowsOutOfNoFileHaveChanged) {
  const auto batches_of = [](const std::string& expression) {
    return Dataset::from_batches(Dataset::range(100).with({{"id", expression}}).collect());
  };
  WriteOptions parts = parts_of(30);
  batches_of("id * 2").sort({{"id", true}}).write(path("out"), "parquet", parts);
  fs::remove(path("out/part-00001.parquet"));
  const auto changed = batches_of("id * 2 + if(id == 50, 1, 0)").sort({{"id", true}});
  EXPECT_NE(
      refusal([&] { changed.write(path("out"), "parquet", parts); }).find("rows in a database (or in memory), which"),
      std::string::npos);
  EXPECT_EQ(batches_of("id * 2").sort({{"id", true}}).write(path("out"), "parquet", parts).parts_before, 3);
}

TEST_F(PartRuns, HoldTheLimitOfBadRowsWhereASortComesFirst) {
  std::string jsonl;
  for (int i = 0; i < 100; ++i)
    jsonl += i == 10 ? "{\n" : fmt::format("{{\"id\": {}, \"s\": \"{}\"}}\n", i, i == 70 ? "x" : "1");
  write_file_atomic(path("in.jsonl"), jsonl);
  const Dataset rows = Dataset::read(path("in.jsonl")).sort({{"id", true}}).with({{"n", "cast(s, 'int64')"}});
  RunOptions options;
  options.on_error = {.max_skipped = 1, .dead_letter = path("dead.jsonl")};
  EXPECT_NE(refusal([&] { rows.write(path("out"), "parquet", parts_of(20), options); }).find("(after 1 rows"),
            std::string::npos);
  options.on_error.max_skipped = 2;
  EXPECT_EQ(rows.write(path("out"), "parquet", parts_of(20), options).skipped, 2);
  EXPECT_EQ(ids("out").size(), 98U);
  const std::string dead = read_file(path("dead.jsonl"));
  EXPECT_EQ(std::count(dead.begin(), dead.end(), '\n'), 2) << dead;
  EXPECT_EQ(rows.write(path("out"), "parquet", parts_of(20), options).skipped, 2);
  EXPECT_EQ(read_file(path("dead.jsonl")), dead);
}

TEST_F(PartRuns, LeaveWholePartsBehindAFailure) {
  Dataset::range(1000).write_file(path("in.parquet"), "parquet");
  std::atomic<std::int64_t> limit = 650;
  const Dataset rows = Dataset::read(path("in.parquet")).map_batches([&](const RecordBatchPointer& batch) {
    const auto& column = static_cast<const arrow::Int64Array&>(*batch->column(0));
    if (column.length() > 0 && column.Value(column.length() - 1) >= limit) throw std::runtime_error("no more memory");
    return batch;
  });
  EXPECT_NE(refusal([&] { rows.write(path("out/"), "parquet", parts_of(200)); }).find("no more memory"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(path("out/_SUCCESS")));
  EXPECT_EQ(ids("out"), up_to(600));
  limit = 1000;
  EXPECT_EQ(rows.write(path("out/"), "parquet", parts_of(200)).parts_before, 3);
  EXPECT_EQ(ids("out"), up_to(1000));
}

TEST_F(PartRuns, KeepPartsOfDifferentRunsApart) {
  Dataset::range(100).write_file(path("in.parquet"), "parquet");
  const Dataset rows = Dataset::read(path("in.parquet"));
  rows.write(path("out/"), "parquet", parts_of(30));
  EXPECT_NE(refusal([&] { rows.write(path("out/"), "parquet", parts_of(40)); }).find("part_rows"), std::string::npos);
  WriteOptions other = parts_of(30);
  other.resume_key = "filter: id > 3";
  EXPECT_NE(refusal([&] { rows.write(path("out/"), "parquet", other); }).find("other steps"), std::string::npos);
  Dataset::range(101).write_file(path("in.parquet"), "parquet");
  EXPECT_NE(refusal([&] { rows.write(path("out/"), "parquet", parts_of(30)); }).find("changed"), std::string::npos);
  fs::create_directories(path("taken"));
  write_file_atomic(path("taken/notes.txt"), "mine");
  EXPECT_NE(refusal([&] { rows.write(path("taken/"), "parquet", parts_of(30)); }).find("something else"),
            std::string::npos);
}

TEST_F(PartRuns, GoOnBehindStepsThatNeedOtherRows) {
  const Dataset rows = Dataset::range(1000);
  const auto check = [&](const std::string& name, const Dataset& dataset) {
    std::vector<std::int64_t> expected;
    for (const auto& batch : dataset.collect()) {
      const auto& column = static_cast<const arrow::Int64Array&>(*batch->GetColumnByName("id"));
      for (std::int64_t i = 0; i < column.length(); ++i) expected.push_back(column.Value(i));
    }
    dataset.write(path(name + "/"), "parquet", parts_of(99));
    EXPECT_EQ(ids(name), expected) << name;
    fs::remove(path(name + "/_SUCCESS"));
    fs::remove(path(name + "/part-00001.parquet"));
    const RunResult again = dataset.write(path(name + "/"), "parquet", parts_of(99));
    EXPECT_EQ(again.rows, 99) << name;
    EXPECT_EQ(again.rows_before, static_cast<std::int64_t>(expected.size()) - 99) << name;
    EXPECT_EQ(ids(name), expected) << name;
    const RunResult finished = dataset.write(path(name + "/"), "parquet", parts_of(99));
    EXPECT_EQ(finished.rows, 0) << name;
    EXPECT_EQ(finished.rows_before, static_cast<std::int64_t>(expected.size())) << name;
    EXPECT_EQ(finished.manifest, again.manifest) << name;
  };
  check("sort", rows.sort({{"id", true}}).with({{"twice", "id * 2"}}));
  check("shuffle", rows.random_shuffle(1).stage());
  check("windows", rows.random_shuffle(1, 70).with({{"twice", "id * 2"}}));
  check("limit", rows.limit(456).filter("id >= 0"));
  check("sample", rows.sample(0.7, 3));
  check("union", rows.union_with({Dataset::range(30)}));
  check("zip", rows.zip(rows.rename({{"id", "other"}})));
  check("join", rows.join(Dataset::range(700), {"id"}));
  check("groupby", rows.groupby({"id"}, {{"count", "id", "n"}}));
}

TEST_F(PartRuns, RunWhatStandsBeforeASortNoMoreOnceAllIsThere) {
  std::atomic<std::int64_t> seen = 0;
  const Dataset rows = Dataset::range(500)
                           .map_batches([&](const RecordBatchPointer& batch) {
                             seen += batch->num_rows();
                             return batch;
                           })
                           .sort({{"id", true}});
  rows.write(path("out/"), "parquet", parts_of(99));
  EXPECT_EQ(seen, 500);
  rows.write(path("out/"), "parquet", parts_of(99));
  EXPECT_EQ(seen, 500);
}

TEST_F(PartRuns, KeepPartitionsWhole) {
  const Dataset rows = Dataset::range(1000).with({{"k", "id % 3"}});
  WriteOptions options = parts_of(300);
  options.partition_by = {"k"};
  rows.write(path("out/"), "parquet", options);
  const auto sorted = [&] {
    std::vector<std::int64_t> all = ids("out");
    std::sort(all.begin(), all.end());
    return all;
  };
  EXPECT_EQ(sorted(), up_to(1000));
  EXPECT_TRUE(fs::exists(path("out/k=2/part-00003.parquet")));
  // A run that was killed between two files of a part: the first is there, the part is not noted.
  fs::remove(path("out/_SUCCESS"));
  fs::remove(path("out/_part-00002.json"));
  fs::remove(path("out/k=1/part-00002.parquet"));
  write_file_atomic(path("out/k=7/part-00002.parquet"), "of another day");
  EXPECT_EQ(rows.write(path("out/"), "parquet", options).rows, 300);
  EXPECT_FALSE(fs::exists(path("out/k=7/part-00002.parquet")));
  EXPECT_EQ(sorted(), up_to(1000));
}

TEST_F(PartRuns, LeaveNoPartitionOfAPartThatFails) {
  std::atomic<std::int64_t> limit = 250;
  const Dataset rows = Dataset::range(400).with({{"k", "id % 3"}}).map_batches([&](const RecordBatchPointer& batch) {
    const auto& column = static_cast<const arrow::Int64Array&>(*batch->column(0));
    if (column.length() > 0 && column.Value(column.length() - 1) >= limit) throw std::runtime_error("killed here");
    return batch;
  });
  WriteOptions options = parts_of(100);
  options.partition_by = {"k"};
  options.part_bytes = 1;  // every block ends a file
  EXPECT_NE(refusal([&] { rows.write(path("out/"), "parquet", options); }).find("killed here"), std::string::npos);
  EXPECT_EQ(ids("out").size(), 200U);
  limit = 400;
  const RunResult result = rows.write(path("out/"), "parquet", options);
  EXPECT_EQ(result.rows, 200);
  EXPECT_EQ(result.rows_before, 200);
  EXPECT_EQ(ids("out").size(), 400U);
}

TEST_F(PartRuns, TellOfAllRunsWhatWentIn) {
  Dataset::range(500).write_file(path("a.csv"), "csv");
  Dataset::range(300).write_file(path("b.csv"), "csv");
  const Dataset rows = Dataset::read(std::vector{path("a.csv"), path("b.csv")}, "csv").filter("id % 2 == 0");
  const Json expected = {{{"source", "csv(2 files)"},
                          {"rows", 800},
                          {"files",
                           {{{"file", path("a.csv")}, {"read", 500}, {"rows", 250}, {"tokens", 0}},
                            {{"file", path("b.csv")}, {"read", 300}, {"rows", 150}, {"tokens", 0}}}}}};
  EXPECT_EQ(rows.write(path("out/"), "parquet", parts_of(99)).manifest, expected);
  fs::remove(path("out/part-00003.parquet"));
  EXPECT_EQ(rows.write(path("out/"), "parquet", parts_of(99)).manifest, expected);
  EXPECT_EQ(rows.count().manifest, expected);
}

TEST_F(PartRuns, FindTheSamplesOfTarFilesByTheirNumbers) {
  const auto texts = [](const std::string& expression, std::int64_t rows) {
    return Dataset::range(rows).with({{"txt", expression}}).select({"txt"});
  };
  texts("cast(id, 'string')", 450).write_file(path("a.tar"), "tar");
  texts("cast(id + 450, 'string')", 50).write_file(path("b.tar"), "tar");
  for (const std::size_t piece_bytes : {std::size_t{1}, std::size_t{20000}, std::size_t{2} << 20}) {
    const std::string out = fmt::format("out-{}", piece_bytes);
    ReadOptions read;
    read.piece_bytes = piece_bytes;
    const Dataset rows =
        Dataset::read(std::vector{path("a.tar"), path("b.tar")}, "tar", read).with({{"id", "cast(txt, 'int64')"}});
    rows.write(path(out), "parquet", parts_of(60));
    fs::remove(path(out + "/part-00004.parquet"));
    EXPECT_EQ(rows.write(path(out), "parquet", parts_of(60)).rows, 60);
    EXPECT_EQ(ids(out), up_to(500));
    // Found by number, which no memory has a part in.
    EXPECT_EQ(parse_json(read_file(path(out + "/_parts.json")), "parts").value("rows", 0), 500);
  }
}

TEST_F(PartRuns, ReadTheColumnsThatAreAskedFor) {
  Dataset::range(20000)
      .with({{"wide", "concat(cast(id, 'string'), ' and more')"}})
      .write_file(path("in.parquet"), "parquet");
  const Dataset rows = Dataset::read(path("in.parquet"));
  const auto bytes_read = [&](const std::string& name, const Dataset& dataset) {
    const RunResult result = dataset.write(path(name), "parquet", parts_of(3000));
    return result.statistics[0].at("operators")[0].at("bytes").get<std::int64_t>();
  };
  EXPECT_GT(bytes_read("all", rows), 20000 * 20);
  EXPECT_LE(bytes_read("one", rows.select({"id"})), 20000 * 9);
  EXPECT_EQ(ids("one"), up_to(20000));
}

TEST_F(PartRuns, GoThroughAnyKillsToTheSameRows) {
  Dataset::range(3000).write_file(path("in.csv"), "csv");
  const PropertySeeds seeds = property_seeds(12);
  for (std::uint64_t seed = seeds.begin; seed < seeds.end; ++seed) {
    Random random(seed);
    const std::string out = fmt::format("out-{}", seed);
    const std::uint64_t kind = random.below(6);
    const auto rows_per_block = static_cast<std::int64_t>(1 + random.below(300));
    const WriteOptions write = parts_of(static_cast<std::int64_t>(50 + random.below(900)));
    RunOptions memory;
    memory.memory = random.below(2) == 0 ? 40 << 10 : 256 << 20;
    std::atomic<std::int64_t> victim = -1;
    ReadOptions read;
    read.piece_bytes = 500;
    Dataset dataset = Dataset::read(path("in.csv"), "csv", read);
    if (kind == 1) dataset = dataset.stage(2);
    if (kind == 2) dataset = dataset.random_shuffle(seed);
    if (kind == 3) dataset = dataset.filter("id % 3 != 1").sample(0.7, seed);
    if (kind == 4) dataset = dataset.with({{"k", "id % 17"}}).sort({{"k", true}});
    if (kind == 5) dataset = dataset.join(Dataset::range(2000), {"id"});
    dataset = dataset.repartition(rows_per_block)
                  .map_batches([&victim](const RecordBatchPointer& batch) {
                    const auto& column = static_cast<const arrow::Int64Array&>(*batch->GetColumnByName("id"));
                    for (std::int64_t i = 0; i < column.length(); ++i) {
                      if (column.Value(i) == victim) throw std::runtime_error("killed here");
                    }
                    return batch;
                  })
                  .stage(2);
    std::vector<std::int64_t> expected;
    for (const auto& batch : dataset.collect(memory)) {
      const auto& column = static_cast<const arrow::Int64Array&>(*batch->GetColumnByName("id"));
      for (std::int64_t i = 0; i < column.length(); ++i) expected.push_back(column.Value(i));
    }
    for (int kill = 0; kill < 6; ++kill) {
      RunOptions options = memory;
      options.num_threads = static_cast<int>(1 + random.below(8));
      victim = kill == 5 ? -1 : expected[static_cast<std::size_t>(random.below(expected.size()))];
      const std::string message = refusal([&] { dataset.write(path(out + "/"), "parquet", write, options); });
      ASSERT_EQ(fs::exists(path(out + "/_SUCCESS")), message == "accepted") << message;
      if (message == "accepted") break;
      ASSERT_NE(message.find("killed here"), std::string::npos) << message;
    }
    ASSERT_EQ(ids(out), expected) << "seed " << seed << ", kind " << kind;
  }
}

TEST_F(PartRuns, MakeAFileOfNoRows) {
  Dataset::range(100).filter("id > 1000").write(path("out/"), "parquet", parts_of(60));
  EXPECT_EQ(ids("out"), std::vector<std::int64_t>());
  EXPECT_TRUE(fs::exists(path("out/part-00001.parquet")));
}

std::atomic<int> num_loaded = 0;

/// A model that takes long to load.
struct Model {
  explicit Model(std::string name) : name(std::move(name)) { ++num_loaded; }
  RecordBatchPointer operator()(const RecordBatchPointer& batch) const { return batch; }
  std::string name;
};

TEST_F(PartRuns, LoadAModelOnceForAllParts) {
  Runtime runtime(RuntimeOptions{});
  num_loaded = 0;
  const Dataset rows = map_batches_actors<Model>(
      Dataset::range(1000), runtime, {.max_actors = 1, .name = "model", .batch_size = 50}, std::string("m"));
  rows.write(path("out/"), "parquet", parts_of(100));
  EXPECT_EQ(ids("out"), up_to(1000));
  EXPECT_EQ(num_loaded, 1);
}

}  // namespace
}  // namespace mobula::data
