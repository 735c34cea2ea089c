#include "mobula/data/dataset.hpp"

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/memory_limit.hpp"
#include "mobula/base/random.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/data/describe.hpp"

namespace mobula::data {
namespace {
namespace fs = std::filesystem;

std::vector<std::int64_t> integers(const std::vector<RecordBatchPointer>& batches, int column = 0) {
  std::vector<std::int64_t> values;
  for (const auto& batch : batches) {
    const auto& array = static_cast<const arrow::Int64Array&>(*batch->column(column));
    values.insert(values.end(), array.raw_values(), array.raw_values() + array.length());
  }
  return values;
}

RunOptions small_memory() {
  RunOptions options;
  options.memory = 1 << 20;  // operators spill after some 100 kB
  return options;
}

class DatasetTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  std::string write(const std::string& name, std::string_view content) const {
    write_file_atomic(path(name), content);
    return path(name);
  }
  TemporaryDirectory folder_;
};

TEST_F(DatasetTest, KeepsTheOrderOfTheSourceWithManyThreadsAndSmallPieces) {
  std::string text = "n,square\n";
  for (int i = 0; i < 20000; ++i) text += fmt::format("{},{}\n", i, i * 2);
  ReadOptions options;
  options.piece_bytes = 1000;
  RunOptions run;
  run.num_threads = 7;
  const auto values = integers(Dataset::read(write("a.csv", text), "", options).filter("n % 3 == 0").collect(run));
  ASSERT_EQ(values.size(), 6667u);
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], static_cast<std::int64_t>(3 * i));
}

TEST_F(DatasetTest, ShufflesTheSameWhateverMemoryAndThreads) {
  RunOptions one_thread;
  one_thread.num_threads = 1;
  const auto shuffled = Dataset::range(300000).random_shuffle(5);
  const auto in_memory = integers(shuffled.collect());
  EXPECT_EQ(in_memory, integers(shuffled.collect(one_thread)));
  EXPECT_EQ(in_memory, integers(shuffled.collect(small_memory())));
  EXPECT_NE(in_memory, integers(Dataset::range(300000).random_shuffle(6).collect()));
  auto sorted = in_memory;
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 0; i < sorted.size(); ++i) ASSERT_EQ(sorted[i], static_cast<std::int64_t>(i));
}

TEST_F(DatasetTest, ShufflesEveryPermutationAboutEquallyOften) {
  std::map<std::vector<std::int64_t>, int> seen;
  for (std::uint64_t seed = 0; seed < 2400; ++seed) ++seen[integers(Dataset::range(4).random_shuffle(seed).collect())];
  EXPECT_EQ(seen.size(), 24u);
  for (const auto& [order, times] : seen) EXPECT_NEAR(times, 100, 50);
}

TEST_F(DatasetTest, SortsStablyInMemoryAndOnDisk) {
  const auto keyed = Dataset::range(100000).random_shuffle(1).with({{"k", "id % 97"}});
  for (const bool descending : {false, true}) {
    const auto sorted = keyed.sort({{"k", descending}, {"id", false}});
    const auto batches = sorted.collect();
    const auto keys = integers(batches, 1);
    const auto ids = integers(batches, 0);
    for (std::size_t i = 1; i < keys.size(); ++i) {
      ASSERT_TRUE(descending ? keys[i - 1] >= keys[i] : keys[i - 1] <= keys[i]);
      if (keys[i - 1] == keys[i]) {
        ASSERT_LT(ids[i - 1], ids[i]);
      }
    }
    EXPECT_EQ(ids, integers(sorted.collect(small_memory()), 0));
    // Stable: equal keys keep the order in which they came.
    EXPECT_EQ(integers(keyed.sort({{"k", descending}}).collect(), 0),
              integers(keyed.sort({{"k", descending}}).collect(small_memory()), 0));
  }
}

TEST_F(DatasetTest, PutsNullsAndNanLastInEitherDirection) {
  const auto file = write("a.csv", "n,x\n1,2.5\n2,\n3,nan\n4,-1\n5,-0.0\n6,0.0\n");
  EXPECT_EQ(integers(Dataset::read(file).sort({{"x", false}}).collect()),
            (std::vector<std::int64_t>{4, 5, 6, 1, 3, 2}));
  EXPECT_EQ(integers(Dataset::read(file).sort({{"x", true}}).collect()).back(), 2);
}

TEST_F(DatasetTest, GroupsLikeAMapInMemoryAndOnDisk) {
  const auto grouped =
      Dataset::range(50000)
          .with({{"k", "id * 7919 % 10007"}})
          .groupby({"k"}, {{"sum", "id", "total"}, {"count", "id", "n"}, {"min", "id", "low"}, {"max", "id", "high"}});
  std::map<std::int64_t, std::vector<std::int64_t>> expected;
  for (std::int64_t id = 0; id < 50000; ++id) {
    auto& row = expected.try_emplace(id * 7919 % 10007, std::vector<std::int64_t>{0, 0, id, id}).first->second;
    row[0] += id;
    row[1] += 1;
    row[3] = id;
  }
  for (const RunOptions& options : {RunOptions{}, small_memory()}) {
    std::map<std::int64_t, std::vector<std::int64_t>> got;
    const auto batches = grouped.collect(options);
    std::vector<std::vector<std::int64_t>> columns;
    for (int i = 0; i < 5; ++i) columns.push_back(integers(batches, i));
    for (std::size_t row = 0; row < columns[0].size(); ++row) {
      ASSERT_TRUE(got.emplace(columns[0][row], std::vector<std::int64_t>{columns[1][row], columns[2][row],
                                                                         columns[3][row], columns[4][row]})
                      .second);
    }
    EXPECT_EQ(got, expected);
  }
}

TEST_F(DatasetTest, JoinsLikeNestedLoops) {
  const auto left = Dataset::range(500).with({{"k", "id % 50"}});
  const auto right = Dataset::range(60).with({{"k", "id % 40"}}).rename({{"id", "right_id"}});
  std::multiset<std::pair<std::int64_t, std::int64_t>> expected;
  std::size_t unmatched = 0;
  for (std::int64_t a = 0; a < 500; ++a) {
    for (std::int64_t b = 0; b < 60; ++b) {
      if (a % 50 == b % 40) expected.emplace(a, b);
    }
    unmatched += a % 50 >= 40;
  }
  const auto batches = left.join(right, {"k"}).collect();
  const auto ids = integers(batches, 0);
  const auto right_ids = integers(batches, 2);
  std::multiset<std::pair<std::int64_t, std::int64_t>> got;
  for (std::size_t i = 0; i < ids.size(); ++i) got.emplace(ids[i], right_ids[i]);
  EXPECT_EQ(got, expected);
  EXPECT_EQ(left.join(right, {"k"}, "left").count().rows, static_cast<std::int64_t>(expected.size() + unmatched));
  EXPECT_EQ(left.join(right, {"k"}, "anti").count().rows, static_cast<std::int64_t>(unmatched));
  EXPECT_EQ(left.join(right, {"k"}, "semi").count().rows, static_cast<std::int64_t>(500 - unmatched));
}

TEST_F(DatasetTest, NamesOperatorBytesAndSettingWhereMemoryOrDiskDoNotDo) {
  RunOptions options = small_memory();
  options.disk = 100000;
  const auto message = refusal_with_hint([&] { Dataset::range(1000000).random_shuffle(1).count(options); });
  EXPECT_NE(message.find("random_shuffle: needs more than 100 kB of disk"), std::string::npos) << message;
  EXPECT_NE(message.find("raise `disk`"), std::string::npos) << message;
}

TEST_F(DatasetTest, StopsReadingWhenALimitIsReached) {
  std::int64_t read = 0;
  const auto counted = Dataset::range(100000000).map_batches([&read](const RecordBatchPointer& batch) {
    __atomic_fetch_add(&read, batch->num_rows(), __ATOMIC_RELAXED);
    return batch;
  });
  EXPECT_EQ(counted.limit(10).count().rows, 10);
  EXPECT_LT(read, 10000000);
  EXPECT_EQ(integers(Dataset::range(1000).limit(10).filter("id % 2 == 1").collect()),
            (std::vector<std::int64_t>{1, 3, 5, 7, 9}));
}

TEST_F(DatasetTest, AgreesWithANaiveReferenceOnRandomPipelines) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Random random(seed);
    const auto size = static_cast<std::int64_t>(random.below(30000));
    Dataset dataset = Dataset::range(size);
    struct {
      std::vector<std::int64_t> ids;
    } reference;
    for (std::int64_t i = 0; i < size; ++i) reference.ids.push_back(i);
    bool ordered = true;
    std::string steps;
    for (std::uint64_t step = 0; step < 1 + random.below(5); ++step) {
      const auto n = static_cast<std::int64_t>(2 + random.below(7));
      switch (random.below(6)) {
        case 0:
          steps += fmt::format("filter {} ", n);
          dataset = dataset.filter(fmt::format("id % {} != 0", n));
          std::erase_if(reference.ids, [n](std::int64_t id) { return id % n == 0; });
          break;
        case 1:
          steps += fmt::format("with {} ", n);
          dataset = dataset.with({{"id", fmt::format("id * 3 - {}", n)}});
          for (auto& id : reference.ids) id = id * 3 - n;
          break;
        case 2:
          steps += "sort ";
          dataset = dataset.sort({{"id", n % 2 == 0}});
          std::stable_sort(reference.ids.begin(), reference.ids.end(),
                           [n](auto a, auto b) { return n % 2 == 0 ? a > b : a < b; });
          ordered = true;
          break;
        case 3:
          steps += "shuffle ";
          dataset = dataset.random_shuffle(seed);
          ordered = false;
          break;
        case 4:
          if (!ordered) break;  // which rows are the first is not the reference's to know
          steps += fmt::format("limit {} ", n * 1000);
          dataset = dataset.limit(n * 1000);
          if (static_cast<std::int64_t>(reference.ids.size()) > n * 1000)
            reference.ids.resize(static_cast<std::size_t>(n * 1000));
          break;
        default:
          steps += "union ";
          if (reference.ids.size() > 50000) break;
          dataset = dataset.union_with({dataset.filter("id % 2 == 0")});
          for (std::size_t i = 0, end = reference.ids.size(); i < end; ++i) {
            if (reference.ids[i] % 2 == 0) reference.ids.push_back(reference.ids[i]);
          }
      }
    }
    RunOptions options = random.below(2) == 0 ? RunOptions{} : small_memory();
    options.num_threads = 1 + static_cast<int>(random.below(8));
    auto got = integers(dataset.collect(options));
    if (!ordered) {
      std::sort(got.begin(), got.end());
      std::sort(reference.ids.begin(), reference.ids.end());
    }
    ASSERT_EQ(got, reference.ids) << "seed " << seed << ": " << steps;
  }
}

TEST_F(DatasetTest, LeavesNothingWhereARunFails) {
  const auto input = write("a.csv", "n\n1\n2\nx\n");
  ReadOptions options;
  options.types = {{"n", "int64"}};
  const auto message = refusal_with_hint([&] { Dataset::read(input, "", options).write(path("out/"), "parquet"); });
  EXPECT_NE(message.find("a.csv: row 3: column 'n': \"x\" is not an int64"), std::string::npos) << message;
  EXPECT_NE(refusal_with_hint([&] { Dataset::read(input, "", options).write(path("out.jsonl")); }), "accepted");
  std::size_t left = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder_.path())) ++left;
  EXPECT_EQ(left, 1u);
}

TEST_F(DatasetTest, RefusesAFolderThatHoldsSomethingUnlessToldToReplaceIt) {
  Dataset::range(10).write(path("out/"), "csv");
  EXPECT_NE(refusal_with_hint([&] { Dataset::range(3).write(path("out/"), "csv"); }).find("the folder holds something"),
            std::string::npos);
  EXPECT_EQ(Dataset::read(path("out"), "csv").count().rows, 10);
  WriteOptions replace;
  replace.overwrite = true;
  Dataset::range(3).write(path("out/"), "csv", replace);
  EXPECT_EQ(Dataset::read(path("out"), "csv").count().rows, 3);
}

TEST_F(DatasetTest, WritesPartsBySizeAndPartitionsByValue) {
  WriteOptions parts;
  parts.part_bytes = 100000;
  Dataset::range(500000).write(path("parts/"), "parquet", parts);
  EXPECT_GT(std::distance(fs::directory_iterator(path("parts")), fs::directory_iterator()), 2);
  EXPECT_EQ(integers(Dataset::read(path("parts"), "parquet").collect()), integers(Dataset::range(500000).collect()));
  WriteOptions partitioned;
  partitioned.partition_by = {"k"};
  Dataset::range(100).with({{"k", "concat('a/', id % 3)"}}).write(path("keys/"), "jsonl", partitioned);
  EXPECT_EQ(integers(Dataset::read(path("keys/k=a%2F1"), "jsonl").collect()).size(), 33u);
}

TEST_F(DatasetTest, NamesTheFunctionThatThrows) {
  MapOptions options;
  options.name = "tag";
  const auto failing = Dataset::range(10).map_batches(
      [](const RecordBatchPointer& batch) -> RecordBatchPointer {
        if (batch->num_rows() > 0) throw std::runtime_error("no model");
        return batch;
      },
      options);
  EXPECT_EQ(refusal_with_hint([&] { failing.count(); }), "map_batches(tag): no model | ");
}

TEST_F(DatasetTest, TellsRowsAndTimePerOperator) {
  const auto result = Dataset::range(1000).filter("id < 10").count();
  EXPECT_EQ(result.rows, 10);
  const Json& operators = result.statistics.at(0).at("operators");
  ASSERT_EQ(operators.size(), 3u);
  EXPECT_EQ(operators[0]["rows"], 1000);
  EXPECT_EQ(operators[1]["name"], "filter(id < 10)");
  EXPECT_EQ(operators[1]["rows"], 10);
}

TEST_F(DatasetTest, ReadsFilesOfOneFolderInOrderAndRefusesMixedColumns) {
  write("in/a.csv", "n\n1\n");
  write("in/b.csv", "n\n2\n");
  EXPECT_EQ(integers(Dataset::read(path("in"), "csv").collect()), (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(integers(Dataset::read(path("in/*.csv")).collect()), (std::vector<std::int64_t>{1, 2}));
  write("in/c.csv", "m\n3\n");
  EXPECT_NE(
      refusal_with_hint([&] { Dataset::read(path("in"), "csv").count(); }).find("c.csv: header 'm' differs from 'n'"),
      std::string::npos);
  write("in/c.csv", "");
  EXPECT_NE(refusal_with_hint([&] { Dataset::read(path("in"), "csv").count(); }).find("c.csv: empty"),
            std::string::npos);
}

TEST_F(DatasetTest, ShufflesWithinWindowsTheSameWhateverThreadsAndBlocks) {
  const auto shuffled = [](std::int64_t rows, std::int64_t window, int threads, std::int64_t blocks) {
    RunOptions options;
    options.num_threads = threads;
    Dataset input = Dataset::range(rows);
    if (blocks > 0) input = input.repartition(blocks);
    return integers(input.random_shuffle(5, window).collect(options));
  };
  const auto values = shuffled(1003, 100, 1, 0);
  ASSERT_EQ(values.size(), 1003u);
  bool moved = false;
  for (std::size_t window = 0; window * 100 < values.size(); ++window) {
    const auto begin = static_cast<std::ptrdiff_t>(window * 100);
    const auto end = std::min<std::ptrdiff_t>(begin + 100, 1003);
    std::vector<std::int64_t> own(values.begin() + begin, values.begin() + end);
    moved = moved || !std::is_sorted(own.begin(), own.end());
    std::sort(own.begin(), own.end());
    for (std::size_t i = 0; i < own.size(); ++i) ASSERT_EQ(own[i], begin + static_cast<std::int64_t>(i));
  }
  EXPECT_TRUE(moved);
  EXPECT_NE(std::vector<std::int64_t>(values.begin(), values.begin() + 100),
            std::vector<std::int64_t>(integers(Dataset::range(100).random_shuffle(5).collect())));
  for (const int threads : {1, 5}) {
    for (const std::int64_t blocks : {0, 7, 250}) EXPECT_EQ(shuffled(1003, 100, threads, blocks), values);
  }
  // The second window's order is another one.
  std::vector<std::int64_t> first(values.begin(), values.begin() + 100);
  for (std::int64_t& value : first) value += 100;
  EXPECT_NE(first, std::vector<std::int64_t>(values.begin() + 100, values.begin() + 200));
  EXPECT_NE(refusal([] { Dataset::range(3).random_shuffle(1, -1); }).find("a window of -1 rows"), std::string::npos);
}

TEST_F(DatasetTest, NamesRowsBehindAWindowedShuffle) {
  std::string text = "n\n";
  for (int i = 0; i < 50; ++i) text += i == 41 ? "oops\n" : fmt::format("{}\n", i);
  ReadOptions options;
  options.types = {{"n", "string"}};
  const auto rows = Dataset::read(write("a.csv", text), "", options).random_shuffle(2, 10);
  const std::string why = refusal([&] { rows.with({{"m", "cast(n, 'int64')"}}).count({.row_origins = true}); });
  EXPECT_NE(why.find("a.csv: row 42: with"), std::string::npos) << why;
}

RecordBatchPointer counted(std::int64_t begin, std::int64_t rows) {
  return Dataset::range(begin + rows).filter(fmt::format("id >= {}", begin)).repartition(rows + 1).collect().front();
}

TEST_F(DatasetTest, TakesRowsFromAFunctionOfTheProgram) {
  int runs = 0;
  const Dataset rows = Dataset::generate([&runs] {
    ++runs;
    return [made = std::int64_t{0}]() mutable -> RecordBatchPointer {
      if (made == 1000) return nullptr;
      made += 10;
      return counted(made - 10, 10);
    };
  });
  RunOptions options;
  options.num_threads = 3;
  EXPECT_EQ(integers(rows.filter("id % 2 == 0").collect(options)).size(), 500u);
  const auto values = integers(rows.collect(options));
  ASSERT_EQ(values.size(), 1000u);
  EXPECT_TRUE(std::is_sorted(values.begin(), values.end()));
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(integers(rows.limit(15).collect()).size(), 15u);
  EXPECT_EQ(integers(rows.random_shuffle(1).collect(small_memory())).size(), 1000u);
}

TEST_F(DatasetTest, TellsWhatIsWrongWithAFunctionThatMakesRows) {
  const auto failing = [](std::function<RecordBatchPointer(int)> batch, GenerateOptions options = {}) {
    const auto rows = Dataset::generate(
        [batch = std::move(batch)] { return [batch, number = 0]() mutable { return batch(number++); }; },
        std::move(options));
    return refusal([&] { rows.count(); });
  };
  const auto throws = failing([](int number) -> RecordBatchPointer {
    if (number == 2) throw std::runtime_error("the socket closed");
    return counted(0, 5);
  });
  EXPECT_NE(throws.find("generator: batch 3, behind row 10: the socket closed"), std::string::npos) << throws;
  const auto nothing = failing([](int) -> RecordBatchPointer { return nullptr; }, {.name = "sensor"});
  EXPECT_NE(nothing.find("sensor: no batch tells the columns"), std::string::npos) << nothing;
  const auto other = failing([](int number) -> RecordBatchPointer {
    return number == 0 ? counted(0, 5) : Dataset::range(4).rename({{"id", "n"}}).collect().front();
  });
  EXPECT_NE(other.find("generator: batch 2 has other columns (n: int64"), std::string::npos) << other;
  EXPECT_EQ(failing([](int) -> RecordBatchPointer { return nullptr; }, {.schema = counted(0, 1)->schema()}),
            "accepted");
  const auto rows = Dataset::generate(
      [] { return [number = 0]() mutable { return number++ < 3 ? counted(number * 5, 5) : nullptr; }; });
  const std::string bad = refusal([&] { rows.with({{"m", "1 / cast(if(id == 12, 'x', '1'), 'int64')"}}).count(); });
  EXPECT_NE(bad.find("generator: row 8: with"), std::string::npos) << bad;
}

TEST_F(DatasetTest, FindsFilesInAnyFoldersOfAPattern) {
  for (const char* name : {"in/a.csv", "in/x/b.csv", "in/x/y/c.csv", "in/x/.hidden/d.csv", "in/x/y/c.txt"}) {
    fs::create_directories(fs::path(path(name)).parent_path());
    write(name, "n\n1\n");
  }
  const auto rows = [this](const std::string& pattern) { return Dataset::read(path(pattern), "csv").count().rows; };
  EXPECT_EQ(rows("in/**/*.csv"), 3);
  EXPECT_EQ(rows("in/x/**/*.csv"), 2);
  EXPECT_EQ(rows("**/y/*.csv"), 1);
  EXPECT_EQ(rows("in/**/y/**/c.*sv"), 1);
  EXPECT_EQ(rows("in/*/*.csv"), 1);
  EXPECT_NE(refusal([&] { rows("in/**/*.tsv"); }).find("no file matches"), std::string::npos);
}

TEST_F(DatasetTest, ReadsAFoldersFilesOfTheFirstEndingThatIsThere) {
  fs::create_directories(path("in"));
  write("in/config.json", "[1]");
  write("in/a.ndjson", "{\"n\": 1}\n");
  EXPECT_EQ(Dataset::read(path("in"), "jsonl").count().rows, 1);
  write("in/b.jsonl", "{\"n\": 1}\n{\"n\": 2}\n");
  EXPECT_EQ(Dataset::read(path("in"), "jsonl").count().rows, 2);
  const std::string why = refusal([&] { Dataset::read(write("one.json", "[\n{\"n\": 1}\n]\n")).count(); });
  EXPECT_NE(why.find("one.json: row 1: not valid JSON"), std::string::npos) << why;
}

TEST_F(DatasetTest, TellsAFoldersFormatByItsFiles) {
  WriteOptions parts;
  parts.resume = true;
  parts.compression = "zstd";
  Dataset::range(10).write(path("out/"), "jsonl", parts);  // _parts.json and the like lie there, too
  EXPECT_EQ(Dataset::read(path("out")).count().rows, 10);
  Dataset::range(7).write(path("out/sub/more.jsonl"));
  EXPECT_EQ(Dataset::read(path("out/")).count().rows, 17);
  Dataset::range(7).write(path("out/other.parquet"));
  EXPECT_NE(refusal([&] { Dataset::read(path("out")); }).find("tells no format"), std::string::npos);
  fs::create_directories(path("nothing"));
  EXPECT_NE(refusal([&] { Dataset::read(path("nothing")); }).find("tells no format"), std::string::npos);
}

TEST_F(DatasetTest, ReadsAndWritesCompressedText) {
  std::string text = "n,s\n";
  for (int i = 0; i < 5000; ++i) text += fmt::format("{},text {}\n", i, i % 7);
  ReadOptions small;
  small.piece_bytes = 1000;
  const Dataset rows = Dataset::read(write("a.csv", text), "", small);
  const auto expected = integers(rows.collect());
  for (const char* name : {"a.csv.gz", "a.csv.zst", "a.csv.bz2", "a.csv.xz", "a.jsonl.gz", "a.tsv.zst"}) {
    rows.write(path(name));
    EXPECT_LT(fs::file_size(path(name)), text.size() * 2 / 3) << name;
    RunOptions threads;
    threads.num_threads = 4;
    EXPECT_EQ(integers(Dataset::read(path(name), "", small).collect(threads)), expected) << name;
  }
  WriteOptions zipped;
  zipped.compression = "gzip";
  zipped.part_bytes = 20000;
  rows.write(path("out/"), "jsonl", zipped);
  EXPECT_TRUE(fs::exists(path("out/part-00001.jsonl.gz")));
  EXPECT_EQ(integers(Dataset::read(path("out"), "jsonl").collect()), expected);
  // A row is found where it stands in the text; a resumed run reads pieces by their place.
  const std::string bad = refusal([&] {
    Dataset::read(path("a.csv.gz"), "", small).with({{"m", "cast(if(n == 4321, s, '1'), 'int64')"}}).count();
  });
  EXPECT_NE(bad.find("a.csv.gz: row 4322: with"), std::string::npos) << bad;
  WriteOptions parts;
  parts.resume = true;
  parts.part_rows = 700;
  Dataset::read(path("a.csv.gz"), "", small).write(path("parts/"), "parquet", parts);
  EXPECT_EQ(integers(Dataset::read(path("parts"), "parquet").collect()), expected);
}

TEST_F(DatasetTest, RefusesCompressionThatDoesNotGoWithAName) {
  const Dataset rows = Dataset::range(10);
  const auto why = [&](const std::string& name, const std::string& compression) {
    WriteOptions options;
    options.compression = compression;
    const std::string text = refusal([&] { rows.write(path(name), "", options); });
    EXPECT_FALSE(fs::exists(path(name)));
    return text;
  };
  EXPECT_NE(why("a.csv", "gzip").find("a.csv: compression gzip does not go with this name"), std::string::npos);
  EXPECT_NE(why("a.csv.gz", "zstd").find("compression zstd does not go with this name"), std::string::npos);
  EXPECT_NE(why("a.csv.gz", "none").find("compression none does not go with this name"), std::string::npos);
  EXPECT_NE(why("a.jsonl", "gzp").find("unknown compression 'gzp'"), std::string::npos);
  EXPECT_NE(why("a.parquet.gz", "").find("parquet files are not compressed as a whole"), std::string::npos);
  EXPECT_NE(refusal([&] { Dataset::read(path("a.parquet.zst")); }).find("not compressed as a whole"),
            std::string::npos);
}

TEST_F(DatasetTest, TakesAShareOfTheMachinesMemoryUnlessTold) {
  WriteOptions parts;
  parts.resume = true;
  Dataset::range(10).sort({{"id", true}}).write(path("out/"), "parquet", parts);
  const Json identity = parse_json(read_file(path("out/_parts.json"), 1 << 20), "_parts.json");
  const std::uint64_t share = std::max(memory_limit() / 4, std::uint64_t{256} << 20);
  EXPECT_EQ(identity.at("memory"), share - (std::uint64_t{96} << 20));
}

}  // namespace
}  // namespace mobula::data
