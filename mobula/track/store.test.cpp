#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <thread>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/track/run.hpp"

namespace mobula::track {
namespace {

namespace fs = std::filesystem;

class StoreTest : public testing::Test {
 protected:
  fs::path file() const { return directory_.path() / "runs" / "mobula.db"; }
  fs::path folder(std::string_view name) const { return directory_.path() / name; }

  TemporaryDirectory directory_;
};

ErrorCode code_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::internal;
}

void run_sql(const fs::path& file, const char* sql) {
  sqlite3* handle = nullptr;
  ASSERT_EQ(sqlite3_open(file.c_str(), &handle), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(handle, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(handle);
  sqlite3_close(handle);
}

TEST_F(StoreTest, KeepsWhatARunLogged) {
  std::string id;
  {
    auto run = Store::open(file())->start_run("baseline", folder("a"));
    id = run->id();
    run->log_params({{"train.lr", "0.001"}, {"model.family", "gpt2"}});
    run->log_metric("loss", 2, 3.5);
    run->log_metric("loss", 1, 4.25);
    run->log_metric("val_loss", 2, 3.75);
    write_file_atomic(folder("a") / "plot.svg", "12345");
    run->log_artifact("plot", folder("a") / "plot.svg");
    run->set_tag("data", "tiny");
  }
  auto store = Store::open(file());
  const RunInfo info = store->find_run(id);
  EXPECT_EQ(info.name, "baseline");
  EXPECT_EQ(info.status, "finished");
  EXPECT_EQ(info.folder, fs::weakly_canonical(folder("a")));
  ASSERT_TRUE(info.end_time.has_value());
  EXPECT_GE(*info.end_time, info.start_time);
  EXPECT_NE(info.code_version.find("mobula "), std::string::npos);
  EXPECT_EQ(id.size(), 12u);

  using Pairs = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(store->params(id), (Pairs{{"train.lr", "0.001"}, {"model.family", "gpt2"}}));
  EXPECT_EQ(store->tags(id), (Pairs{{"data", "tiny"}}));
  EXPECT_EQ(store->metric_names(id), (std::vector<std::string>{"loss", "val_loss"}));
  const auto points = store->metric(id, "loss");
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[0].step, 1);
  EXPECT_EQ(points[0].value, 4.25);
  EXPECT_EQ(points[1].value, 3.5);
  const auto artifacts = store->artifacts(id);
  ASSERT_EQ(artifacts.size(), 1u);
  EXPECT_EQ(artifacts[0].name, "plot");
  EXPECT_EQ(artifacts[0].bytes, 5u);
}

TEST_F(StoreTest, KeepsTheLastOfTwoValuesForOneKeyOrStep) {
  auto store = Store::open(file());
  auto run = store->start_run("twice", folder("a"));
  run->log_params({{"steps", "10"}, {"lr", "1"}});
  run->log_params({{"steps", "20"}});
  run->log_metric("loss", 5, 1.0);
  run->log_metric("loss", 5, 2.0);
  run->flush();
  EXPECT_EQ(store->params(run->id()).front(), (std::pair<std::string, std::string>{"steps", "20"}));
  ASSERT_EQ(store->metric(run->id(), "loss").size(), 1u);
  EXPECT_EQ(store->metric(run->id(), "loss")[0].value, 2.0);
}

TEST_F(StoreTest, KeepsValuesThatAreNotFinite) {
  auto store = Store::open(file());
  auto run = store->start_run("diverged", folder("a"));
  run->log_metric("loss", 1, 0.5);
  run->log_metric("loss", 2, std::nan(""));
  run->log_metric("loss", 3, INFINITY);
  run->flush();
  const auto points = store->metric(run->id(), "loss");
  ASSERT_EQ(points.size(), 3u);
  EXPECT_TRUE(std::isnan(points[1].value));
  EXPECT_TRUE(std::isinf(points[2].value));
  const auto summaries = store->metric_summaries(run->id());
  ASSERT_EQ(summaries.size(), 1u);
  EXPECT_EQ(summaries[0].count, 3u);
  EXPECT_EQ(summaries[0].min, 0.5);
  EXPECT_EQ(summaries[0].max, 0.5);
  EXPECT_EQ(summaries[0].last.step, 3);
}

TEST_F(StoreTest, SummarisesAMetricByItsFirstMinimum) {
  auto store = Store::open(file());
  auto run = store->start_run("best", folder("a"));
  for (const auto& [step, value] : {std::pair{1, 3.0}, {2, 1.0}, {3, 1.0}, {4, 2.0}}) {
    run->log_metric("val_loss", step, value);
  }
  run->flush();
  const MetricSummary summary = store->metric_summaries(run->id()).at(0);
  EXPECT_EQ(summary.min, 1.0);
  EXPECT_EQ(summary.min_step, 2);
  EXPECT_EQ(summary.max, 3.0);
  EXPECT_EQ(summary.last.value, 2.0);
  const auto last = store->last_metrics(run->id());
  ASSERT_EQ(last.size(), 1u);
  EXPECT_EQ(last[0].first, "val_loss");
  EXPECT_EQ(last[0].second.step, 4);
}

TEST_F(StoreTest, CutsMetricsBackInTheOrderOfTheCalls) {
  auto store = Store::open(file());
  auto run = store->start_run("resumed", folder("a"));
  for (int step = 1; step <= 10; ++step) run->log_metric("loss", step, step);
  run->truncate_metrics(4);
  run->log_metric("loss", 5, 50);
  run->flush();
  const auto points = store->metric(run->id(), "loss");
  ASSERT_EQ(points.size(), 5u);
  EXPECT_EQ(points.back().value, 50);
}

TEST_F(StoreTest, CutsOnlyTheRunsOwnMetrics) {
  auto store = Store::open(file());
  auto one = store->start_run("one", folder("a"));
  auto two = store->start_run("two", folder("b"));
  one->log_metric("loss", 9, 1);
  one->flush();
  two->truncate_metrics(0);
  two->flush();
  EXPECT_EQ(store->metric(one->id(), "loss").size(), 1u);
}

TEST_F(StoreTest, ContinuesTheRunOfAFolderOnlyWhenAskedTo) {
  auto store = Store::open(file());
  std::string first;
  {
    auto run = store->start_run("train", folder("a"));
    first = run->id();
    run->log_metric("loss", 1, 2.0);
  }
  {
    auto resumed = store->start_run("train", folder("a/"), true);
    EXPECT_EQ(resumed->id(), first);
    EXPECT_EQ(store->find_run(first).status, "running");
    EXPECT_FALSE(store->find_run(first).end_time.has_value());
    resumed->log_metric("loss", 2, 1.0);
  }
  EXPECT_EQ(store->metric(first, "loss").size(), 2u);
  EXPECT_NE(store->start_run("train", folder("a"))->id(), first);
  EXPECT_NE(store->start_run("train", folder("b"), true)->id(), first);
}

TEST_F(StoreTest, EndsARunThatAnExceptionLeavesAsFailed) {
  auto store = Store::open(file());
  std::string id;
  try {
    auto run = store->start_run("doomed", folder("a"));
    id = run->id();
    throw std::runtime_error("boom");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(store->find_run(id).status, "failed");
}

TEST_F(StoreTest, RecordsTheStatusGivenAtTheEnd) {
  auto store = Store::open(file());
  auto run = store->start_run("stopped", folder("a"));
  run->finish("killed");
  run->finish("finished");
  EXPECT_EQ(store->find_run(run->id()).status, "killed");
}

TEST_F(StoreTest, ShowsARunWhoseProcessDiedAsKilled) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto run = Store::open(file())->start_run("crashed", folder("a"));
    run->log_metric("loss", 1, 2.5);
    run->flush();
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  auto store = Store::open(file());
  const RunInfo info = store->find_run("crashed");
  EXPECT_EQ(info.status, "killed");
  EXPECT_EQ(store->metric(info.id, "loss").size(), 1u);
}

TEST_F(StoreTest, TakesSeveralProcessesWritingAtOnce) {
  constexpr int kProcesses = 4;
  constexpr int kPoints = 500;
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      int failures = 1;
      try {
        auto run = Store::open(file())->start_run(fmt::format("p{}", i), folder(std::to_string(i)));
        for (int step = 0; step < kPoints; ++step) {
          run->log_metric("loss", step, step);
          if (step % 50 == 0) run->flush();
        }
        run->finish();
        failures = 0;
      } catch (const std::exception& error) {
        ::dprintf(2, "%s\n", error.what());
      }
      ::_exit(failures);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  auto store = Store::open(file());
  ASSERT_EQ(store->list_runs().size(), static_cast<std::size_t>(kProcesses));
  for (const RunInfo& info : store->list_runs()) {
    EXPECT_EQ(store->metric(info.id, "loss").size(), static_cast<std::size_t>(kPoints));
    EXPECT_EQ(info.status, "finished");
  }
}

TEST_F(StoreTest, TakesSeveralThreadsLoggingToOneRun) {
  auto store = Store::open(file());
  auto run = store->start_run("threads", folder("a"));
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&run, i] {
      for (int step = 0; step < 2000; ++step) run->log_metric(fmt::format("m{}", i), step, step);
    });
  }
  for (std::thread& thread : threads) thread.join();
  run->flush();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(store->metric(run->id(), fmt::format("m{}", i)).size(), 2000u);
}

TEST_F(StoreTest, FindsRunsByIdBeginningNameAndFolder) {
  auto store = Store::open(file());
  const std::string old = store->start_run("train", folder("a"))->id();
  const std::string recent = store->start_run("train", folder("b"))->id();
  EXPECT_EQ(store->find_run(old).id, old);
  EXPECT_EQ(store->find_run(old.substr(0, 6)).id, old);
  EXPECT_EQ(store->find_run("train").id, recent);
  EXPECT_EQ(store->find_run(folder("a").string() + "/").id, old);
  const auto runs = store->list_runs();
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].id, recent);
  EXPECT_EQ(store->list_runs(1).size(), 1u);
}

TEST_F(StoreTest, NamesTheNearestRunWhenNoneIsFound) {
  auto store = Store::open(file());
  store->start_run("shakespeare", folder("a"));
  try {
    store->find_run("shakespaere");
    FAIL() << "found";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_NE(error.hint().find("did you mean 'shakespeare'?"), std::string::npos) << error.hint();
  }
}

TEST_F(StoreTest, RefusesAFileThatIsNoDatabase) {
  fs::create_directories(file().parent_path());
  std::ofstream(file()) << std::string(5000, 'x');
  try {
    Store::open(file());
    FAIL() << "opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::corrupt);
    EXPECT_NE(error.message().find(file().string()), std::string::npos) << error.message();
    EXPECT_FALSE(error.hint().empty());
  }
  EXPECT_EQ(read_file(file()), std::string(5000, 'x'));
}

TEST_F(StoreTest, RefusesATruncatedStore) {
  { Store::open(file())->start_run("x", folder("a")); }
  fs::resize_file(file(), fs::file_size(file()) / 2);
  EXPECT_EQ(code_of([&] {
              auto store = Store::open(file());
              store->list_runs();
              store->start_run("y", folder("b"));
            }),
            ErrorCode::corrupt);
}

TEST_F(StoreTest, RefusesTheDatabaseOfAnotherProgram) {
  fs::create_directories(file().parent_path());
  run_sql(file(), "CREATE TABLE bookmarks (url TEXT)");
  EXPECT_EQ(code_of([&] { Store::open(file()); }), ErrorCode::corrupt);
}

TEST_F(StoreTest, RefusesAStoreOfANewerFormat) {
  Store::open(file());
  run_sql(file(), "PRAGMA user_version = 99");
  EXPECT_EQ(code_of([&] { Store::open(file()); }), ErrorCode::unsupported);
}

TEST_F(StoreTest, RefusesAFolder) {
  fs::create_directories(file());
  EXPECT_EQ(code_of([&] { Store::open(file()); }), ErrorCode::io);
}

TEST_F(StoreTest, UsesTheWriteAheadLog) {
  auto store = Store::open(file());
  auto run = store->start_run("x", folder("a"));
  EXPECT_TRUE(fs::exists(file().string() + "-wal"));
}

TEST_F(StoreTest, ReportsAStoreThatBreaksUnderARun) {
  auto store = Store::open(file());
  auto run = store->start_run("x", folder("a"));
  run_sql(file(), "DROP TABLE params");
  run->log_params({{"lr", "1"}});
  EXPECT_EQ(code_of([&] { run->flush(); }), ErrorCode::io);
  run_sql(file(),
          "CREATE TABLE params (run_id TEXT, position INTEGER, key TEXT, value TEXT, PRIMARY KEY (run_id, key))");
  run->flush();
  EXPECT_EQ(store->params(run->id()).size(), 1u);
}

TEST_F(StoreTest, RefusesAnArtifactThatIsNotThere) {
  auto run = Store::open(file())->start_run("x", folder("a"));
  EXPECT_EQ(code_of([&] { run->log_artifact("model", folder("nowhere")); }), ErrorCode::io);
}

TEST(DefaultStore, IsTheEnvironmentsFileWhereSet) {
  ::setenv("MOBULA_TRACK", "/somewhere/else.db", 1);
  EXPECT_EQ(default_store(), fs::path("/somewhere/else.db"));
  ::unsetenv("MOBULA_TRACK");
  EXPECT_EQ(default_store(), fs::path("runs/mobula.db"));
}

}  // namespace
}  // namespace mobula::track
