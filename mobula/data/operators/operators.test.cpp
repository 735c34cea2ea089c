// Operators that came with stages: maps over rows, zip, sample, splits, repartition, joins on disk, bad rows.
#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/random.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/core.hpp"
#include "mobula/core/testing/worker_processes.hpp"
#include "mobula/data/dataset.hpp"
#include "mobula/data/describe.hpp"
#include "mobula/data/rows/map.hpp"
#include "mobula/data/rows/map_actors.hpp"

namespace mobula::data {
namespace {

struct Id {
  std::int64_t id;
};
struct Pair {
  std::int64_t id;
  std::string text;
};

std::vector<std::int64_t> ids_of(const Dataset& dataset, const RunOptions& options = {}) {
  std::vector<std::int64_t> ids;
  for (const auto& batch : dataset.select({"id"}).collect(options)) {
    for (const Id& row : rows_of<Id>(batch)) ids.push_back(row.id);
  }
  return ids;
}

RunOptions small_memory() {
  RunOptions options;
  options.memory = 1 << 20;
  return options;
}

class OperatorTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  std::string write(const std::string& name, std::string_view content) const {
    write_file_atomic(path(name), content);
    return path(name);
  }
  TemporaryDirectory folder_;
};

TEST_F(OperatorTest, MapsRowsAsStructs) {
  const auto pairs = map<Id>(Dataset::range(1000), [](const Id& row) {
    return Pair{row.id * 2, fmt::format("t{}", row.id)};
  });
  EXPECT_EQ(rows_as_json(pairs.limit(2))[1], R"({"id":2,"text":"t1"})");
  const auto repeated = flat_map<Id>(
      Dataset::range(5), [](const Id& row) { return std::vector<Id>(static_cast<std::size_t>(row.id), row); });
  EXPECT_EQ(ids_of(repeated), (std::vector<std::int64_t>{1, 2, 2, 3, 3, 3, 4, 4, 4, 4}));
  const auto some =
      map<Id>(Dataset::range(10), [](const Id& row) { return row.id % 4 == 0 ? std::optional(row) : std::nullopt; });
  EXPECT_EQ(ids_of(some), (std::vector<std::int64_t>{0, 4, 8}));
  EXPECT_EQ(filter_rows<Id>(Dataset::range(100), [](const Id& row) { return row.id > 89; }).count().rows, 10);
}

TEST_F(OperatorTest, NamesFileRowAndOperatorOfAFunctionThatFails) {
  std::string text = "id\n";
  for (int i = 0; i < 3000; ++i) text += fmt::format("{}\n", i);
  ReadOptions read;
  read.piece_bytes = 500;
  const auto failing = [](const Id& row) {
    if (row.id == 2002) throw std::runtime_error("no such thing");
    return row;
  };
  MapOptions options;
  options.name = "tag";
  const auto rows = Dataset::read(write("a.csv", text), "", read);
  const auto message = refusal_with_hint([&] { map<Id>(rows, failing, options).count(); });
  EXPECT_NE(message.find("a.csv: row 2003: map(tag): no such thing"), std::string::npos) << message;
  // Also behind a filter, and out of Parquet and JSONL.
  rows.write_file(path("a.parquet"), "parquet");
  rows.write_file(path("a.jsonl"), "jsonl");
  for (const char* name : {"a.csv", "a.parquet", "a.jsonl"}) {
    const auto filtered = Dataset::read(path(name), "", read).filter("id % 2 == 0");
    const auto found = refusal_with_hint([&] { map<Id>(filtered, failing, options).count(); });
    EXPECT_NE(found.find(fmt::format("{}: row 2003: map(tag): no such thing", name)), std::string::npos) << found;
  }
}

TEST_F(OperatorTest, SkipsBadRowsUpToALimitAndWritesThemDown) {
  const auto jsonl = write("a.jsonl", "{\"id\":1}\n{\"id\":\n\n{\"id\":3}\n[4]\n{\"id\":5}\n");
  RunOptions options;
  options.on_error = {.max_skipped = 3, .dead_letter = path("dead.jsonl")};
  const auto mapped = map<Id>(Dataset::read(jsonl), [](const Id& row) {
    if (row.id == 3) throw std::runtime_error("three");
    return row;
  });
  EXPECT_EQ(ids_of(mapped, options), (std::vector<std::int64_t>{1, 5}));
  const std::string dead = read_file(path("dead.jsonl"));
  EXPECT_EQ(std::count(dead.begin(), dead.end(), '\n'), 3);
  EXPECT_NE(dead.find(R"(a.jsonl: row 2","operator":"jsonl","reason":"not valid JSON)"), std::string::npos) << dead;
  EXPECT_NE(dead.find(R"(a.jsonl: row 5","operator":"jsonl","reason":"not a JSON object","row":"[4]")"),
            std::string::npos)
      << dead;
  EXPECT_NE(dead.find(R"j(a.jsonl: row 4","operator":"map(function)","reason":"three","row":{"id":3})j"),
            std::string::npos)
      << dead;
  options.on_error.max_skipped = 2;
  EXPECT_NE(
      refusal_with_hint([&] { mapped.count(options); }).find("(after 2 rows that were skipped) | raise on_error.skip"),
      std::string::npos);
  options.on_error.max_skipped = 0;
  EXPECT_NE(refusal_with_hint([&] { mapped.count(options); }).find("a.jsonl: row 2: not valid JSON"),
            std::string::npos);
  const auto csv = write("a.csv", "id,s\n1,a\n2,b,c\n3,d\nx,e\n\"5,f\n");
  ReadOptions read;
  read.types = {{"id", "int64"}};
  options.on_error = {.max_skipped = 5, .dead_letter = path("dead.csv.jsonl")};
  const auto result = Dataset::read(csv, "", read).count(options);
  EXPECT_EQ(result.rows, 2);
  EXPECT_EQ(result.skipped, 3);
  EXPECT_NE(read_file(path("dead.csv.jsonl")).find("a.csv: row 4"), std::string::npos);
}

TEST_F(OperatorTest, ZipsRowsAndNamesBothCountsWhereTheyDiffer) {
  const auto right = Dataset::range(300000).with({{"square", "id * id"}}).drop({"id"});
  const auto zipped = Dataset::range(300000).filter("id >= 0").zip(right);
  std::int64_t row = 0;
  zipped.filter("id * id == square").for_each([&](const RecordBatchPointer& batch) {
    for (const Id& value : rows_of<Id>(batch)) EXPECT_EQ(value.id, row++);
    return true;
  });
  EXPECT_EQ(row, 300000);
  EXPECT_EQ(refusal_with_hint([&] { Dataset::range(10).zip(right.limit(7)).count(); }),
            "zip: 10 rows on the left and 7 on the right | limit the longer one first");
  EXPECT_NE(refusal_with_hint([&] {
              Dataset::range(10).zip(Dataset::range(10)).count();
            }).find("both sides have a column 'id'"),
            std::string::npos);
}

TEST_F(OperatorTest, SamplesTheSameRowsWhateverThreadsThereAre) {
  RunOptions one;
  one.num_threads = 1;
  const auto sampled = Dataset::range(100000).sample(0.1, 3);
  const auto ids = ids_of(sampled);
  EXPECT_NEAR(static_cast<double>(ids.size()), 10000, 400);
  EXPECT_EQ(ids, ids_of(sampled, one));
  EXPECT_NE(ids, ids_of(Dataset::range(100000).sample(0.1, 4)));
  EXPECT_EQ(Dataset::range(10).sample(1, 0).count().rows, 10);
}

TEST_F(OperatorTest, SplitsExactlyAndByStrata) {
  for (const std::int64_t rows : {0, 1, 10, 9999}) {
    const auto [train, test] = Dataset::range(rows).train_test_split(0.25, 5);
    const auto test_ids = ids_of(test);
    EXPECT_EQ(test_ids.size(), static_cast<std::size_t>(std::llround(0.25 * static_cast<double>(rows))));
    auto all = ids_of(train);
    all.insert(all.end(), test_ids.begin(), test_ids.end());
    std::sort(all.begin(), all.end());
    for (std::size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], static_cast<std::int64_t>(i));
    EXPECT_EQ(all.size(), static_cast<std::size_t>(rows));
  }
  const auto labelled = Dataset::range(1000).with({{"k", "if(id % 10 == 0, 'rare', if(id % 2 == 0, 'even', 'odd'))"}});
  const auto [train, test] = labelled.train_test_split(0.2, 1, "k");
  std::map<std::string, std::int64_t> counts;
  for (const std::string& row : rows_as_json(test.groupby({"k"}, {{"count", "id", "n"}}))) {
    const Json json = parse_json(row, "row");
    counts[json["k"].get<std::string>()] = json["n"].get<std::int64_t>();
  }
  EXPECT_EQ(counts, (std::map<std::string, std::int64_t>{{"rare", 20}, {"even", 80}, {"odd", 100}}));
  EXPECT_EQ(train.count().rows, 800);
  EXPECT_NE(refusal_with_hint([&] { labelled.train_test_split(0.2, 1, "kk"); }).find("no column 'kk'"),
            std::string::npos);
}

TEST_F(OperatorTest, RepartitionsIntoBlocksOfOneSize) {
  std::vector<std::int64_t> sizes;
  for (const auto& batch : Dataset::range(1000).filter("id % 3 != 0").repartition(100).collect())
    sizes.push_back(batch->num_rows());
  EXPECT_EQ(sizes, (std::vector<std::int64_t>{100, 100, 100, 100, 100, 100, 66}));
}

TEST_F(OperatorTest, LimitsInTheMiddleWithoutHoldingRows) {
  std::atomic<std::int64_t> read{0};
  const auto counted = Dataset::range(1'000'000'000).map_batches([&read](const RecordBatchPointer& batch) {
    read += batch->num_rows();
    return batch;
  });
  EXPECT_EQ(counted.limit(5'000'000).filter("id % 2 == 0").count().rows, 2'500'000);
  EXPECT_LT(read.load(), 20'000'000);
}

/// What a join must give, by nested loops over (key, id); a key below 0 is null.
std::multiset<std::string> naive_join(const std::vector<std::pair<std::int64_t, std::int64_t>>& left,
                                      const std::vector<std::pair<std::int64_t, std::int64_t>>& right,
                                      const std::string& how) {
  std::multiset<std::string> rows;
  for (const auto& [key, id] : left) {
    bool matched = false;
    for (const auto& [other_key, other_id] : right) {
      if (key < 0 || key != other_key) continue;
      matched = true;
      if (how == "inner" || how == "left") rows.insert(fmt::format("{},{}", id, other_id));
    }
    if (!matched && how == "left") rows.insert(fmt::format("{},null", id));
    if (matched == (how == "semi") && (how == "semi" || how == "anti")) rows.insert(fmt::format("{}", id));
  }
  return rows;
}

struct Keyed {
  std::optional<std::int64_t> k;
  std::int64_t id;
};
struct RightKeyed {
  std::optional<std::int64_t> k;
  std::int64_t right_id;
};

TEST_F(OperatorTest, JoinsOnDiskLikeNestedLoopsAlsoWhereOneKeyHasAllTheRows) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    Random random(seed);
    const std::uint64_t num_keys = seed % 2 == 0 ? 400 : 2;
    std::vector<std::pair<std::int64_t, std::int64_t>> left;
    std::vector<std::pair<std::int64_t, std::int64_t>> right;
    std::vector<Keyed> left_rows;
    std::vector<RightKeyed> right_rows;
    const auto key_of = [&] { return static_cast<std::int64_t>(random.below(num_keys + 1)) - 1; };
    for (std::int64_t i = 0; i < 300; ++i) {
      left.emplace_back(key_of(), i);
      left_rows.push_back({left.back().first < 0 ? std::nullopt : std::optional(left.back().first), i});
    }
    for (std::int64_t i = 0; i < 900; ++i) {
      right.emplace_back(key_of(), i);
      right_rows.push_back({right.back().first < 0 ? std::nullopt : std::optional(right.back().first), i});
    }
    const auto left_data = Dataset::from_batches({batch_of(left_rows)}).repartition(70);
    const auto right_data = Dataset::from_batches({batch_of(right_rows)}).repartition(50);
    for (const char* how : {"inner", "left", "semi", "anti"}) {
      for (const std::uint64_t memory : {std::uint64_t{256} << 20, std::uint64_t{8} << 10}) {
        RunOptions options;
        options.memory = memory;
        std::multiset<std::string> got;
        left_data.join(right_data, {"k"}, how)
            .for_each(
                [&](const RecordBatchPointer& batch) {
                  const auto ids = std::static_pointer_cast<arrow::Int64Array>(batch->GetColumnByName("id"));
                  const auto others = std::static_pointer_cast<arrow::Int64Array>(batch->GetColumnByName("right_id"));
                  for (std::int64_t i = 0; i < batch->num_rows(); ++i) {
                    std::string row = fmt::format("{}", ids->Value(i));
                    if (others != nullptr) row += others->IsNull(i) ? ",null" : fmt::format(",{}", others->Value(i));
                    got.insert(row);
                  }
                  return true;
                },
                options);
        ASSERT_EQ(got, naive_join(left, right, how)) << how << " seed " << seed << " memory " << memory;
      }
    }
  }
}

TEST_F(OperatorTest, KeepsAJoinOnDiskUnderItsQuota) {
  RunOptions options = small_memory();
  options.disk = 100000;
  const auto message =
      refusal_with_hint([&] { Dataset::range(1000).join(Dataset::range(1000000), {"id"}).count(options); });
  EXPECT_NE(message.find("join: needs more than 100 kB of disk"), std::string::npos) << message;
  EXPECT_EQ(Dataset::range(1000).join(Dataset::range(1000000), {"id"}).count(small_memory()).rows, 1000);
}

TEST_F(OperatorTest, RunsStagesBesideEachOther) {
  // The second stage only goes on once the first is two blocks ahead of it: one after the other, this would never end.
  std::atomic<int> made{0};
  std::atomic<int> used{0};
  const auto result = Dataset::range(64 * 1000)
                          .repartition(1000)
                          .map_batches([&](const RecordBatchPointer& batch) {
                            made += batch->num_rows() > 0;
                            return batch;
                          })
                          .stage(1)
                          .map_batches([&](const RecordBatchPointer& batch) {
                            if (batch->num_rows() == 0) return batch;
                            const int number = used++;
                            while (made < std::min(64, number + 2)) std::this_thread::yield();
                            return batch;
                          })
                          .count();
  EXPECT_EQ(result.rows, 64000);
  EXPECT_GE(result.statistics.size(), 3u);
  EXPECT_EQ(result.statistics[0]["done"], true);
  EXPECT_EQ(result.statistics.back()["blocked"][0]["on"], result.statistics.back()["operators"][0]["name"]);
}

TEST_F(OperatorTest, ShowsARunWhileItGoesOn) {
  std::atomic<int> seen{0};
  RunOptions options;
  options.watch = [&](const Json& stages) { seen += !stages.empty() && !slowest_operator(stages).empty(); };
  Dataset::range(1)
      .map_batches([&](const RecordBatchPointer& batch) {
        while (batch->num_rows() > 0 && seen == 0) std::this_thread::yield();
        return batch;
      })
      .stage()
      .count(options);
  EXPECT_GT(seen, 0);
}

TEST_F(OperatorTest, SkipsRowGroupsThatStatisticsRuleOut) {
  WriteOptions write;
  write.row_group_rows = 1000;
  Dataset::range(10000).with({{"s", "concat('t', id)"}}).write_file(path("a.parquet"), "parquet", write);
  // The first row groups become garbage: whoever reads them fails.
  std::string bytes = read_file(path("a.parquet"));
  std::fill(bytes.begin() + 4, bytes.begin() + 2000, '\xEE');
  write_file_atomic(path("a.parquet"), bytes);
  const auto rows = Dataset::read(path("a.parquet"));
  EXPECT_NE(refusal_with_hint([&] { rows.count(); }), "accepted");
  for (const char* predicate : {"id >= 9000", "9000 <= id", "id > 8999 and s != 'x'", "id == 9500 or id > 9000"}) {
    const auto result = rows.filter(predicate).count();
    EXPECT_LE(result.rows, 1000) << predicate;
    EXPECT_NE(result.statistics[0]["operators"][0]["name"].get<std::string>().find("of 10 row groups skipped"),
              std::string::npos)
        << result.statistics.dump();
  }
  EXPECT_EQ(rows.filter("id >= 9000").select({"id"}).count().rows, 1000);
  EXPECT_NE(refusal_with_hint([&] { rows.filter("id < 9000").count(); }), "accepted");
}

TEST_F(OperatorTest, ReadsNoColumnsThatNobodyWants) {
  WriteOptions write;
  write.compression = "none";
  Dataset::range(1000).with({{"x", "id * 2"}, {"y", "id * 3"}}).write_file(path("a.parquet"), "parquet", write);
  const auto result = Dataset::read(path("a.parquet")).filter("id < 10").with({{"x", "x + 1"}}).select({"x"}).count();
  EXPECT_EQ(result.rows, 10);
  EXPECT_EQ(result.statistics[0]["operators"][0]["bytes"].get<std::int64_t>() / 1000, 2 * 8);  // y's 8 are not read
}

TEST_F(OperatorTest, ReadsFoldersOfKeysAsColumnsAndOnlyThoseThatMatch) {
  WriteOptions write;
  write.partition_by = {"k", "s"};
  const auto rows = Dataset::range(100).with({{"k", "id % 3"}, {"s", "if(id % 2 == 0, 'a/b', cast(null, 'string'))"}});
  for (const char* format : {"parquet", "csv", "jsonl", "ipc"}) {
    rows.write(path(fmt::format("{}/", format)), format, write);
    const auto read = Dataset::read(path(format), format);
    EXPECT_EQ(columns_of(read).at(1).type, "int64");
    auto got = rows_as_json(read.sort({{"id", false}}));
    EXPECT_EQ(got, rows_as_json(rows)) << format;
    EXPECT_EQ(ids_of(read.filter("k == 1 and s is null")).size(), 17u);
    EXPECT_EQ(columns_of(Dataset::read(path(format), format, {.columns = {"s", "id"}})).at(0).name, "s");
  }
  const auto result = Dataset::read(path("parquet"), "parquet").filter("k == 2").count();
  EXPECT_EQ(result.rows, 33);
  EXPECT_NE(result.statistics[0]["operators"][0]["name"].get<std::string>().find("4 files skipped by their folders"),
            std::string::npos)
      << result.statistics.dump();
  EXPECT_EQ(Dataset::read(path("parquet"), "parquet").filter("k == 77").count().rows, 0);
  EXPECT_EQ(columns_of(Dataset::read(path("parquet"), "parquet", {.hive = false})).size(), 1u);
}

struct Multiplier {
  explicit Multiplier(std::int64_t factor) : factor_(factor) { ++num_made; }
  RecordBatchPointer operator()(const RecordBatchPointer& batch) const {
    std::vector<Id> rows = rows_of<Id>(batch);
    for (Id& row : rows) row.id *= factor_;
    return batch_of(rows);
  }
  std::int64_t factor_;
  inline static std::atomic<int> num_made{0};
};

TEST_F(OperatorTest, MapsBatchesOnActorsOfTheRuntime) {
  Runtime runtime(RuntimeOptions{});
  const auto tripled = map_batches_actors<Multiplier>(Dataset::range(10000), runtime,
                                                      {.max_actors = 2, .batch_size = 100}, std::int64_t{3});
  const auto ids = ids_of(tripled);
  ASSERT_EQ(ids.size(), 10000u);
  for (std::size_t i = 0; i < ids.size(); ++i) ASSERT_EQ(ids[i], static_cast<std::int64_t>(3 * i));
  EXPECT_LE(Multiplier::num_made, 3);
  EXPECT_GE(Multiplier::num_made, 1);
}

TEST(BatchValue, GoesThroughBytes) {
  const auto batch = Dataset::range(100).with({{"s", "concat('t', id)"}}).collect().front();
  WireWriter out;
  Codec<BatchValue>::encode(out, {batch});
  WireReader in(out.bytes());
  EXPECT_TRUE(Codec<BatchValue>::decode(in).batch->Equals(*batch));
  WireReader damaged(std::string_view(out.bytes()).substr(0, 100));
  EXPECT_THROW(Codec<BatchValue>::decode(damaged), Error);
  WireWriter count{WireWriter::Counting{}};
  Codec<BatchValue>::encode(count, {batch});
  EXPECT_EQ(count.size(), out.size());
}

[[maybe_unused]] const auto* const kWorkers = ::testing::AddGlobalTestEnvironment(new mobula::testing::ServeWorkers);

BatchValue counted(std::int64_t rows) {
  return {Dataset::range(rows).collect().front()};
}
std::int64_t rows_of(View<BatchValue> batch) {
  return batch->batch->num_rows();
}
const std::uint8_t* first_column(const BatchValue& value) {
  return value.batch->column_data(0)->buffers[1]->data();
}

TEST(BatchValue, IsLookedAtWhereItLiesInSharedMemory) {
  Runtime rt(RuntimeOptions{.num_cpus = 2});
  const TaskOptions process{.isolation = Isolation::process};
  auto ref = rt.with(process).remote<counted>(50'000);
  const auto view = rt.view(ref);
  EXPECT_EQ(first_column(*view), first_column(*rt.view(ref)));
  EXPECT_TRUE(mobula::testing::shared_with_processes(first_column(*view)));
  EXPECT_TRUE(mobula::testing::shared_with_processes(first_column(rt.get(ref))));
  EXPECT_EQ(rt.get(rt.with(process).remote<rows_of>(ref)), 50'000);
  ref = {};
  EXPECT_TRUE(view->batch->Equals(*Dataset::range(50'000).collect().front()));
}

}  // namespace
}  // namespace mobula::data
