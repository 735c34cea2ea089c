#include "mobula/data/plan/part_runs.hpp"

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/data/describe.hpp"
#include "mobula/data/rows/map_actors.hpp"
#include "mobula/data/storage/storage.hpp"

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
  static std::string refusal(const std::function<void()>& run) {
    try {
      run();
    } catch (const Error& error) {
      return error.message();
    }
    return "nothing was refused";
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
  const RunResult again = rows.write(path("out/"), "parquet", parts_of(300));
  EXPECT_EQ(again.rows, 300);
  EXPECT_EQ(again.parts_before, 3);
  EXPECT_EQ(ids("out"), up_to(1000));
  EXPECT_FALSE(fs::exists(path("out/.part-00002.parquet.1.0.tmp")));
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

TEST_F(PartRuns, RefuseStepsThatNeedAllRows) {
  const Dataset rows = Dataset::range(100);
  const auto refused = [&](const Dataset& dataset) {
    return refusal([&] { dataset.write(path("out/"), "parquet", parts_of(30)); });
  };
  EXPECT_NE(refused(rows.sort({{"id"}})).find("sort needs all rows"), std::string::npos);
  EXPECT_NE(refused(rows.random_shuffle(1).stage()).find("needs all rows"), std::string::npos);
  EXPECT_NE(refused(rows.limit(10)).find("needs all rows"), std::string::npos);
  EXPECT_NE(refused(rows.union_with({rows})).find("more than one source"), std::string::npos);
  EXPECT_NE(refused(rows.join(rows, {"id"})).find("more than one source"), std::string::npos);
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
