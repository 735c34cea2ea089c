#include "mobula/data/plan/part_workers.hpp"

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <optional>
#include <stdexcept>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/data/plan/part_job.hpp"
#include "mobula/data/rows/map.hpp"
#include "mobula/data/rows/map_actors.hpp"

namespace mobula::data {
namespace {
namespace fs = std::filesystem;

struct Numbered {
  std::int64_t id;
};

std::vector<std::int64_t> ids_of(const Dataset& dataset) {
  std::vector<std::int64_t> ids;
  for (const auto& batch : dataset.collect()) {
    for (const Numbered& row : rows_of<Numbered>(batch)) ids.push_back(row.id);
  }
  return ids;
}

/// A row with the process that it went through.
struct Told {
  std::int64_t id;
  std::int64_t process;
};
Dataset told_by_process(const std::string& file) {
  return map<Numbered>(Dataset::read(file), [](const Numbered& row) { return Told{row.id, ::getpid()}; });
}

/// Ends its process the first time that it sees a row, as `marker` remembers.
Dataset fatal_once(const std::string& file, const std::string& marker) {
  return map<Numbered>(Dataset::read(file), [marker](const Numbered& row) {
    if (row.id == 432 && !fs::exists(marker)) {
      write_file_atomic(marker, "seen");
      ::raise(SIGKILL);
    }
    return row;
  });
}
Dataset fatal(const std::string& file) {
  return map<Numbered>(Dataset::read(file), [](const Numbered& row) {
    if (row.id == 432) ::raise(SIGKILL);
    return row;
  });
}
Dataset failing_from(const std::string& file, std::int64_t first) {
  return Dataset::read(file).map_batches([first](const RecordBatchPointer& batch) {
    for (const Numbered& row : rows_of<Numbered>(batch)) {
      if (row.id >= first) throw std::runtime_error(fmt::format("row {} is too much", row.id));
    }
    return batch;
  });
}
Dataset sorted(const std::string& file) {
  return Dataset::read(file).sort({{"id", true}});
}
Dataset in_memory() {
  return Dataset::from_batches(Dataset::range(10).collect());
}

std::atomic<int> num_loaded = 0;

/// A model that takes long to load.
struct LateModel {
  explicit LateModel(std::int64_t factor) : factor(factor) { ++num_loaded; }
  RecordBatchPointer operator()(const RecordBatchPointer& batch) const {
    std::vector<Numbered> rows = rows_of<Numbered>(batch);
    for (Numbered& row : rows) row.id *= factor;
    return batch_of(rows);
  }
  std::int64_t factor;
};
Dataset through_models(const std::string& file) {
  const std::function<Runtime*()> nowhere = []() -> Runtime* { throw std::logic_error("an actor of its own"); };
  return map_batches_actors<LateModel>(Dataset::read(file), nowhere,
                                       {.max_actors = 5, .name = "model", .batch_size = 7}, std::int64_t{3});
}

/// Columns that differ from worker to worker, as where nodes have other models.
std::atomic<int> num_datasets = 0;
Dataset of_other_columns(const std::string& file) {
  const std::string name = fmt::format("made_by_{}", num_datasets++);
  return Dataset::read(file).with({{name, "id"}});
}
/// Files that differ from worker to worker, as where nodes have other folders.
std::optional<std::string> other_file;
Dataset of_other_files(const std::string& file) {
  return Dataset::read(num_datasets++ == 0 ? file : *other_file);
}

class PartWorkers : public testing::Test {
 protected:
  PartWorkers() { Dataset::range(1000).write_file(path("in.csv"), "csv"); }
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  static WriteOptions parts_of(std::int64_t rows) { return {.resume = true, .part_rows = rows}; }
  static PartWorkersOptions processes(int num_workers) {
    PartWorkersOptions options;
    options.num_workers = num_workers;
    options.actor.isolation = Isolation::process;
    return options;
  }
  std::vector<std::int64_t> written(const std::string& name) const {
    return ids_of(Dataset::read(path(name), "parquet"));
  }
  static std::vector<std::int64_t> up_to(std::int64_t end) { return ids_of(Dataset::range(end)); }

  TemporaryDirectory folder_;
};

TEST_F(PartWorkers, ReadAndWriteInProcessesOfTheirOwn) {
  Runtime runtime(RuntimeOptions{.num_cpus = 2});
  Json last;
  RunOptions options;
  options.watch = [&last](const Json& stages) { last = stages; };
  const RunResult result = write_in_workers<&told_by_process>(runtime, path("out"), "parquet", parts_of(40), options,
                                                              processes(2), path("in.csv"));
  EXPECT_EQ(result.rows, 1000);
  EXPECT_EQ(result.statistics[0].at("parts"), (Json{{"made", 25}, {"before", 0}, {"of", 25}, {"workers", 2}}));
  EXPECT_EQ(result.manifest[0].at("rows"), 1000);
  std::vector<std::string> processes;
  const auto written_by = Dataset::read(path("out"), "parquet").unique({"process"}).collect();
  for (const auto& batch : written_by) EXPECT_LE(batch->num_rows(), 2);
  EXPECT_EQ(Dataset::read(path("out"), "parquet").filter(fmt::format("process == {}", ::getpid())).count().rows, 0);
  EXPECT_EQ(written("out"), up_to(1000));
}

TEST_F(PartWorkers, WriteCompressedParts) {
  Runtime runtime(RuntimeOptions{.num_cpus = 2});
  WriteOptions write = parts_of(400);
  write.compression = "gzip";
  write_in_workers<&told_by_process>(runtime, path("out"), "jsonl", write, {}, processes(2), path("in.csv"));
  for (const char* part : {"out/part-00000.jsonl.gz", "out/part-00002.jsonl.gz"}) EXPECT_TRUE(fs::exists(path(part)));
  EXPECT_EQ(ids_of(Dataset::read(path("out"), "jsonl").select({"id"})), up_to(1000));
}

TEST_F(PartWorkers, AreMadeAnewWithTheirPart) {
  Runtime runtime(RuntimeOptions{.num_cpus = 2});
  const RunResult result = write_in_workers<&fatal_once>(runtime, path("out"), "parquet", parts_of(40), {},
                                                         processes(2), path("in.csv"), path("marker"));
  EXPECT_TRUE(fs::exists(path("marker")));
  EXPECT_EQ(result.rows, 1000);
  EXPECT_EQ(written("out"), up_to(1000));
  for (const auto& entry : fs::directory_iterator(path("out")))
    EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
}

TEST_F(PartWorkers, EndTheRunWithAPartThatKillsThemEachTime) {
  Runtime runtime(RuntimeOptions{.num_cpus = 2});
  const auto make = [&] {
    write_in_workers<&fatal>(runtime, path("out"), "parquet", parts_of(40), {}, processes(2), path("in.csv"));
  };
  EXPECT_THROW(make(), WorkerDiedError);
  EXPECT_FALSE(fs::exists(path("out/_SUCCESS")));
  EXPECT_FALSE(fs::exists(path("out/_part-00010.json")));
  for (const auto& entry : fs::directory_iterator(path("out")))
    EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
}

TEST_F(PartWorkers, TellTheFailureOfTheFirstPartThatHasOne) {
  Runtime runtime(RuntimeOptions{.num_cpus = 4});
  const auto make = [&](std::int64_t first) {
    return write_in_workers<&failing_from>(runtime, path("out"), "parquet", parts_of(100), {}, {.num_workers = 4},
                                           path("in.csv"), first);
  };
  EXPECT_NE(refusal([&] { make(250); }).find("row 250 is too much"), std::string::npos);
  EXPECT_FALSE(fs::exists(path("out/_SUCCESS")));
  EXPECT_EQ(make(1000).parts_before, 2);
  EXPECT_EQ(written("out"), up_to(1000));
}

TEST_F(PartWorkers, HoldTheModelsOfTheirParts) {
  Runtime runtime(RuntimeOptions{.num_cpus = 2});
  num_loaded = 0;
  write_in_workers<&through_models>(runtime, path("out"), "parquet", parts_of(50), {}, {.num_workers = 2},
                                    path("in.csv"));
  std::vector<std::int64_t> tripled = up_to(1000);
  for (std::int64_t& id : tripled) id *= 3;
  EXPECT_EQ(written("out"), tripled);
  EXPECT_GE(num_loaded, 1);
  EXPECT_LE(num_loaded, 2);
}

TEST_F(PartWorkers, MayBeMoreThanThereAreProcessorsFor) {
  Runtime runtime(RuntimeOptions{.num_cpus = 1});
  const RunResult result = write_in_workers<&told_by_process>(runtime, path("out"), "parquet", parts_of(100), {},
                                                              processes(5), path("in.csv"));
  EXPECT_EQ(written("out"), up_to(1000));
  EXPECT_EQ(result.statistics[0].at("parts").at("workers"), 1);
}

Dataset inferred_from_all_rows(const std::string& folder, const std::string& format) {
  return Dataset::read(folder + "/*." + format, format, {.infer_all = true, .infer_bytes = 100});
}

TEST_F(PartWorkers, TakeTheColumnsThatWereFoundInAllRows) {
  Runtime runtime(RuntimeOptions{.num_cpus = 2});
  std::string csv = "id,late\n";
  std::string jsonl;
  for (int i = 0; i < 1000; ++i) {
    csv += i < 990 ? fmt::format("{},{}\n", i, i) : fmt::format("{},text {}\n", i, i);
    jsonl += fmt::format("{{\"id\": {}{}}}\n", i, i < 990 ? "" : ", \"late\": [{\"x\": 1.5}], \"a\": \"y\"");
  }
  write_file_atomic(path("all/part=1/in.csv"), csv);
  write_file_atomic(path("all/in.jsonl"), jsonl);
  for (const auto& [folder, format] : {std::pair("all/part=*", "csv"), std::pair("all", "jsonl")}) {
    const std::string out = fmt::format("out-{}", format);
    write_in_workers<&inferred_from_all_rows>(runtime, path(out), "parquet", parts_of(300), {}, processes(2),
                                              path(folder), std::string(format));
    EXPECT_EQ(written(out), up_to(1000)) << format;
    const auto schema = Dataset::read(path(out), "parquet").schema();
    EXPECT_EQ(schema->GetFieldByName("late")->type()->id(),
              std::string(format) == "csv" ? arrow::Type::STRING : arrow::Type::LIST);
  }
}

TEST_F(PartWorkers, RefuseWhatNeedsTheRowsOfOtherParts) {
  Runtime runtime(RuntimeOptions{.num_cpus = 1});
  EXPECT_EQ(refusal([&] {
              write_in_workers<&sorted>(runtime, path("out"), "parquet", parts_of(100), {}, {}, path("in.csv"));
            }),
            "workers make parts apart from one another, and sort needs the rows of others");
  EXPECT_EQ(refusal([&] { write_in_workers<&in_memory>(runtime, path("out"), "parquet", parts_of(100), {}, {}); }),
            "blocks(1): no file holds its rows, so that workers can't read a part each");
  EXPECT_EQ(refusal([&] {
              write_in_workers<&told_by_process>(runtime, path("out"), "parquet", parts_of(100), {}, {.num_workers = 0},
                                                 path("in.csv"));
            }),
            "workers: 0 of them; 1 to 4096 are expected");
  EXPECT_FALSE(fs::exists(path("out")));
}

TEST_F(PartWorkers, RefuseOtherColumnsOnOtherNodes) {
  Runtime runtime(RuntimeOptions{.num_cpus = 2});
  num_datasets = 0;
  const std::string message = refusal([&] {
    for (int i = 0; i < 50; ++i) {  // one worker may be done before the other begins
      write_in_workers<&of_other_columns>(runtime, path(fmt::format("out{}", i)), "parquet", parts_of(20), {},
                                          {.num_workers = 2}, path("in.csv"));
    }
  });
  EXPECT_NE(message.find("column 2 is 'made_by_"), std::string::npos) << message;
  EXPECT_NE(message.find(", and was 'made_by_"), std::string::npos) << message;
}

TEST_F(PartWorkers, RefuseOtherFilesOnOtherNodes) {
  Runtime runtime(RuntimeOptions{.num_cpus = 1});
  const auto make = [&](const std::string& file) {
    num_datasets = 0;
    other_file = file;
    write_in_workers<&of_other_files>(runtime, path("out"), "parquet", parts_of(100), {}, {}, path("in.csv"));
  };
  const std::string absent = refusal([&] { make(path("absent.csv")); });
  EXPECT_NE(absent.find("absent.csv"), std::string::npos) << absent;
  EXPECT_NE(absent.find("on node "), std::string::npos) << absent;
  Dataset::range(1000).write_file(path("copy.csv"), "csv");
  EXPECT_NE(refusal([&] { make(path("copy.csv")); }).find("in.csv: no such file on node "), std::string::npos);
  Dataset::range(1000).rename({{"id", "number"}}).write_file(path("renamed.csv"), "csv");
  const std::string renamed = refusal([&] { make(path("renamed.csv")); });
  EXPECT_NE(renamed.find("column 1 is 'number', and was 'id' when the run began (on node "), std::string::npos)
      << renamed;
}

TEST(PartJob, GoesThroughJson) {
  PartTask task{.part = 7, .begin = 700, .end = 800, .pieces = {{{1, 2, 3, 4}}, 690}, .skipped_before = 5};
  const PartTask back = PartTask::from_json(parse_json(task.to_json().dump(), "task"));
  EXPECT_EQ(back.to_json(), task.to_json());
  EXPECT_EQ(back.pieces.places[0].end, 3U);
  EXPECT_EQ(back.pieces.first_row, 690);
  PartJob job{.directory = "/a",
              .folder = "/out",
              .format = "csv",
              .files = {{"in.csv", 12, "3"}},
              .columns = arrow::schema({arrow::field("x", arrow::list(arrow::int64()))})};
  job.write.delimiter = '\t';
  job.write.partition_by = {"k"};
  job.run.memory = 77;
  job.run.on_error.max_skipped = 3;
  const PartJob read = PartJob::from_json(parse_json(job.to_json().dump(), "job"));
  EXPECT_EQ(read.to_json(), job.to_json());
  EXPECT_EQ(read.write.delimiter, '\t');
  EXPECT_EQ(read.run.memory, 77U);
  EXPECT_TRUE(read.write.durable);
  EXPECT_TRUE(read.columns->Equals(*job.columns));
  EXPECT_EQ(difference_of({{"a", "int64"}}, {{"a", "string"}}), "column 'a' is string, and was int64");
  EXPECT_EQ(difference_of({{"a", "int64"}}, {}), "column 'a' is missing");
  EXPECT_EQ(difference_of({}, {{"a", "int64"}}), "column 'a' was not there");
  EXPECT_EQ(difference_of({{"a", "int64"}}, {{"a", "int64"}}), "");
}

}  // namespace
}  // namespace mobula::data
