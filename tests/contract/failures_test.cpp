// What a failure says: how it came about, of which task, where its arguments came from, who called it, what to do.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "every_engine.hpp"

using namespace std::chrono_literals;

namespace contract_failures {

using mobula::Runtime;
using mobula::RuntimeOptions;
using mobula::TaskError;
using mobula::TaskOptions;
using mobula::WorkerDiedError;

enum class End { exit_code, abort, segmentation_fault, kill, terminate, division, success };

int end(End how) {
  std::fprintf(stderr, "row 6\nrow 7\n");
  switch (how) {
    case End::exit_code:
      std::exit(3);
    case End::abort:
      std::abort();
    case End::segmentation_fault:
      raise(SIGSEGV);
      break;
    case End::kill:
      raise(SIGKILL);
      break;
    case End::terminate:
      std::terminate();
    case End::division:
      raise(SIGFPE);  // as an integer's division by zero: UBSan would not let that happen
      break;
    case End::success:
      std::_Exit(0);
  }
  return 0;
}
int fail(int x) {
  throw std::out_of_range("x is " + std::to_string(x));
}
int add(int a, int b) {
  return a + b;
}
int outer(End how) {
  Runtime& rt = Runtime::current();
  // With a timeout it is left to others: without, it may run here, and take its caller along.
  return rt.get(rt.with(TaskOptions{.retries = 0}).remote<end>(how), 60s);
}
struct Shop {
  int sold = 0;
  int sell(int count) { return sold += count; }
  int end(End how) { return contract_failures::end(how); }
};

const RuntimeOptions kProcesses{.isolation = mobula::Isolation::process, .num_cpus = 2};

template <class T>
WorkerDiedError death_of(Runtime& rt, const mobula::Ref<T>& ref) {
  try {
    rt.get(ref);
  } catch (const WorkerDiedError& error) {
    return error;
  }
  throw std::logic_error("it did not die");
}

TEST(Failures, TellHowAWorkerProcessEndedAndWhatItWroteLast) {
  struct Case {
    End how;
    std::string said;
    std::string advised;
  };
  Runtime rt(kProcesses);
  for (const Case& c :
       {Case{End::exit_code, "exited with code 3", "return"}, Case{End::abort, "aborted", "last lines"},
        Case{End::segmentation_fault, "died of a segmentation fault", "-fsanitize=address"},
        Case{End::kill, "was killed by SIGKILL", "kill -9"}, Case{End::terminate, "aborted", "exception"},
        Case{End::division, "died of an arithmetic error", "divided"},
        Case{End::success, "exited with code 0", "return"}}) {
    const auto error = death_of(rt, rt.with(TaskOptions{.retries = 0, .name = "the sum of row 7"}).remote<end>(c.how));
    const std::string expected = "the sum of row 7: the worker process " + c.said;
    EXPECT_TRUE(error.message().starts_with(expected)) << error.message();
    EXPECT_NE(error.message().find("\n  | row 6\n  | row 7"), std::string::npos) << error.message();
    EXPECT_NE(error.hint().find(c.advised), std::string::npos) << error.hint();
    EXPECT_EQ(error.trace(), std::vector<std::string>{"the sum of row 7, called by the program"});
    EXPECT_FALSE(error.out_of_memory());
    EXPECT_GT(error.peak_memory(), 0U);
  }
}

TEST(Failures, SayHowOftenATaskWasTried) {
  Runtime rt(kProcesses);
  const auto error = death_of(rt, rt.with(TaskOptions{.retries = 2}).remote<end>(End::kill));
  EXPECT_TRUE(error.message().starts_with("contract_failures::end (attempt 3 of 3): ")) << error.message();
}

TEST(Failures, NameTheCallersOfATaskWhoseWorkerDied) {
  Runtime rt(kProcesses);
  const auto error = death_of(rt, rt.remote<outer>(End::segmentation_fault));
  EXPECT_EQ(error.signal(), SIGSEGV);
  EXPECT_EQ(error.trace(), (std::vector<std::string>{"contract_failures::end, called by contract_failures::outer",
                                                     "contract_failures::outer, called by the program"}));
}

TEST(Failures, NameTheArgumentThatADeadWorkerWasToMake) {
  Runtime rt(kProcesses);
  auto lost = rt.with(TaskOptions{.retries = 0}).remote<end>(End::abort);
  const auto error = death_of(rt, rt.remote<add>(1, lost));
  EXPECT_EQ(error.trace(), (std::vector<std::string>{"contract_failures::end, called by the program",
                                                     "argument 2 of contract_failures::add",
                                                     "contract_failures::add, called by the program"}));
}

TEST(Failures, TellACallThatDiedFromThoseThatCameTooLate) {
  Runtime rt(kProcesses);
  auto shop = rt.actor<Shop>();
  auto dying = shop.call<&Shop::end>(End::exit_code);
  auto late = shop.call<&Shop::sell>(1);
  EXPECT_TRUE(death_of(rt, dying).message().starts_with("contract_failures::Shop::end: the worker process exited"));
  const auto error = death_of(rt, late);
  EXPECT_TRUE(error.message().starts_with("actor contract_failures::Shop: the worker process exited with code 3"))
      << error.message();
  EXPECT_EQ(error.trace(), std::vector<std::string>{"contract_failures::Shop::sell, called by the program"});
}

// Takes memory until it is stopped, or has 1 GiB.
int eat() {
  std::vector<std::vector<char>> eaten;
  for (int i = 0; i < 1024; ++i) eaten.emplace_back(std::size_t{1} << 20, 'x');
  return static_cast<int>(eaten.size());
}

/// This process in a control group of its own with little memory, while it lives.
class SmallControlGroup {
 public:
  SmallControlGroup() {
    std::ifstream in("/proc/self/cgroup");
    for (std::string line; std::getline(in, line);) {
      const std::size_t first = line.find(':');
      const std::size_t second = line.find(':', first + 1);
      if (second == std::string::npos) continue;
      const std::string controllers = line.substr(first + 1, second - first - 1);
      const bool version_two = controllers.empty();
      if (!version_two && controllers != "memory") continue;
      const std::filesystem::path root = version_two ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
      before_ = root / line.substr(second + 2);
      own_ = root / ("mobula-test-" + std::to_string(getpid()));
      std::error_code failed;
      std::filesystem::create_directory(own_, failed);
      const std::string limit = version_two ? "memory.max" : "memory.limit_in_bytes";
      const std::string swap = version_two ? "memory.swap.max" : "memory.memsw.limit_in_bytes";
      if (failed || !std::filesystem::exists(own_ / limit)) continue;
      if (!write(own_ / limit, "300000000")) continue;
      write(own_ / swap, version_two ? "0" : "300000000");
      entered_ = write(own_ / "cgroup.procs", std::to_string(getpid()));
      if (entered_) return;
    }
  }
  SmallControlGroup(const SmallControlGroup&) = delete;
  SmallControlGroup& operator=(const SmallControlGroup&) = delete;
  ~SmallControlGroup() {
    if (entered_) write(before_ / "cgroup.procs", std::to_string(getpid()));
    if (!own_.empty()) rmdir(own_.c_str());
  }
  bool entered() const { return entered_; }

 private:
  static bool write(const std::filesystem::path& file, const std::string& text) {
    std::ofstream out(file);
    out << text << std::flush;
    return out.good();
  }
  std::filesystem::path before_, own_;
  bool entered_ = false;
};

TEST(Failures, TellALackOfMemoryFromAnybodysKill) {
  const SmallControlGroup group;
  if (!group.entered()) GTEST_SKIP() << "no control group for memory can be made here (as root, it can)";
  Runtime rt(kProcesses);
  const auto error = death_of(rt, rt.with(TaskOptions{.retries = 0}).remote<eat>());
  EXPECT_TRUE(error.out_of_memory()) << error.message();
  EXPECT_EQ(error.signal(), SIGKILL);
  EXPECT_NE(error.message().find("which had run out of memory; it took "), std::string::npos) << error.message();
  EXPECT_NE(error.hint().find("TaskOptions::memory"), std::string::npos) << error.hint();
  EXPECT_FALSE(death_of(rt, rt.with(TaskOptions{.retries = 0}).remote<end>(End::kill)).out_of_memory());
}

class FailuresEverywhere : public contract::EveryEngine {};

TEST_P(FailuresEverywhere, NameTheArgumentThatFailedAndItsCallers) {
  auto sum = rt.remote<add>(rt.remote<add>(1, rt.remote<fail>(7)), 2);
  try {
    rt.get(sum);
    FAIL();
  } catch (const TaskError& error) {
    EXPECT_EQ(error.type(), "std::out_of_range");
    EXPECT_EQ(error.trace(),
              (std::vector<std::string>{
                  "contract_failures::fail, called by the program", "argument 2 of contract_failures::add",
                  "contract_failures::add, called by the program", "argument 1 of contract_failures::add",
                  "contract_failures::add, called by the program"}));
  }
  auto shop = rt.actor<Shop>();
  try {
    rt.get(shop.call<&Shop::sell>(rt.remote<fail>(3)));
    FAIL();
  } catch (const TaskError& error) {
    EXPECT_EQ(error.message(), "x is 3");
    ASSERT_EQ(error.trace().size(), 3U);
    EXPECT_EQ(error.trace()[1], "argument 1 of contract_failures::Shop::sell");
  }
}

INSTANTIATE_TEST_SUITE_P(Contract, FailuresEverywhere, testing::ValuesIn(contract::embedded_engines()),
                         contract::engine_name);

}  // namespace contract_failures
