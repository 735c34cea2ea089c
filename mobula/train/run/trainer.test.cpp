#include "mobula/train/run/trainer.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <thread>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/progress.hpp"
#include "mobula/train/run/run_folder.hpp"

namespace mobula::train {
namespace {

using namespace std::chrono_literals;

std::vector<Json> lines_of(const std::filesystem::path& path) {
  std::vector<Json> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(Json::parse(line));
  return lines;
}

Error failure_of(Trainer& trainer) {
  try {
    trainer.fit();
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorCode::internal, "fit() returned");
}

/// Counts steps, and keeps the count in a file as a checkpoint would.
void count_steps(TrainContext& context, std::int64_t steps, const std::function<void(std::int64_t)>& at_step) {
  const auto file = context.directory() / "count";
  std::int64_t step = std::filesystem::exists(file) ? std::stoll(read_file(file)) : 0;
  context.ranks().barrier();
  while (step < steps) {
    ++step;
    at_step(step);
    context.ranks().barrier();
    if (context.rank() == 0) {
      write_file_atomic(file, std::to_string(step));
      context.report_step(step, {{"loss", 1.0}});
    }
    // Whoever dies in the next step does so after the report of this one.
    context.ranks().barrier();
  }
  if (context.rank() == 0) context.set_result({{"steps", step}, {"argument", context.argument()}});
}

void count_to_ten(TrainContext& context) {
  count_steps(context, 10, [](std::int64_t) {});
}

void die_once(TrainContext& context) {
  count_steps(context, 10, [&](std::int64_t step) {
    if (step == 6 && context.rank() == 1 && context.restarts() == 0) ::kill(::getpid(), SIGKILL);
  });
}

void die_always(TrainContext& context) {
  count_steps(context, 10, [&](std::int64_t step) {
    if (step == 4 && context.rank() == 1) {
      std::fputs("the last words\n", stderr);
      ::_exit(3);
    }
  });
}

void throw_at_three(TrainContext& context) {
  count_steps(context, 10, [&](std::int64_t step) {
    if (step == 3 && context.rank() == 1) throw_invalid("a bad row", "mend it");
  });
}

/// Asks the driver to stop, as Ctrl-C would, and works on until it is told.
void stop_the_driver(TrainContext& context) {
  if (context.rank() == 0) ::kill(::getppid(), SIGTERM);
  while (!context.stop_requested()) std::this_thread::sleep_for(1ms);
  context.ranks().barrier();
  if (context.rank() == 0) context.set_stopped(7);
}

class TrainerTest : public ::testing::Test {
 protected:
  void SetUp() override { set_progress_enabled(false); }
  RunFolder folder() const { return {temporary_.path()}; }
  RunOptions options() const { return {.directory = temporary_.path(), .argument = std::string("any\n\0bytes", 10)}; }

 private:
  TemporaryDirectory temporary_;
};

TEST_F(TrainerTest, ReturnsTheResultOfRankZero) {
  for (const int workers : {1, 3}) {
    const TemporaryDirectory own;
    RunOptions with = options();
    with.directory = own.path();
    const Json result = Trainer(count_to_ten, {.workers = workers}, with).fit();
    EXPECT_EQ(result.at("steps"), 10);
    EXPECT_EQ(result.at("restarts"), 0);
    EXPECT_EQ(result.at("argument").get<std::string>(), with.argument);
    const Json list = Json::parse(read_file(RunFolder{own.path()}.workers()));
    ASSERT_EQ(list.size(), static_cast<std::size_t>(workers));
    for (int rank = 0; rank < workers; ++rank) {
      EXPECT_EQ(list[static_cast<std::size_t>(rank)].at("rank"), rank);
      EXPECT_NE(list[static_cast<std::size_t>(rank)].at("pid").get<pid_t>(), ::getpid());
    }
  }
}

TEST_F(TrainerTest, StartsAllWorkersAnewWhenOneDies) {
  const Json result = Trainer(die_once, {.workers = 2}, options()).fit();
  EXPECT_EQ(result.at("steps"), 10);
  EXPECT_EQ(result.at("restarts"), 1);
  const auto events = lines_of(folder().events());
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].at("event"), "restart");
  EXPECT_EQ(events[0].at("rank"), 1);
  EXPECT_EQ(events[0].at("signal"), SIGKILL);
  EXPECT_EQ(events[0].at("step"), 5);
}

TEST_F(TrainerTest, GivesUpWhenRestartsDoNotBringANewStep) {
  Trainer trainer(die_always, {.workers = 2, .max_restarts = 2}, options());
  const Error error = failure_of(trainer);
  EXPECT_EQ(error.code(), ErrorCode::worker_died);
  EXPECT_NE(error.message().find("rank 1 exited with code 3"), std::string::npos) << error.message();
  EXPECT_NE(error.message().find("the last words"), std::string::npos) << error.message();
  EXPECT_EQ(trainer.restarts(), 2);
}

TEST_F(TrainerTest, DoesNotRepeatAnException) {
  Trainer trainer(throw_at_three, {.workers = 2}, options());
  const Error error = failure_of(trainer);
  EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
  EXPECT_EQ(error.message(), "a bad row");
  EXPECT_EQ(error.hint(), "mend it");
  ASSERT_FALSE(error.trace().empty());
  EXPECT_EQ(error.trace().front(), "rank 1 of 2");
  EXPECT_EQ(trainer.restarts(), 0);
}

TEST_F(TrainerTest, PassesAStopOnAndEndsAsInterrupted) {
  Trainer trainer(stop_the_driver, {.workers = 2}, options());
  const Error error = failure_of(trainer);
  EXPECT_EQ(error.code(), ErrorCode::interrupted);
  EXPECT_NE(error.message().find("after step 7"), std::string::npos) << error.message();
}

TEST_F(TrainerTest, RefusesToRunWithoutWorkers) {
  try {
    Trainer(count_to_ten, {.workers = 0}, options());
    FAIL() << "no workers were accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_EQ(error.message(), "scaling.workers is 0, expected 1 to 1024");
  }
}

}  // namespace
}  // namespace mobula::train

int main(int argc, char** argv) {
  mobula::serve_if_worker();
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
