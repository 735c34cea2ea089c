// The program itself is killed at random points of a busy life: nothing of ours may stay behind.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "mobula/base/files.hpp"
#include "mobula/core.hpp"
#include "mobula/core/gang.hpp"
#include "mobula/core/testing/program.hpp"

namespace driver_kill {

namespace fs = std::filesystem;

std::vector<double> range(std::size_t n) {
  std::vector<double> values(n);
  std::iota(values.begin(), values.end(), 0.0);
  return values;
}
int nested(int depth) {
  mobula::Runtime& rt = mobula::Runtime::current();
  return depth == 0 ? 1 : rt.get(rt.remote<nested>(depth - 1)) + 1;
}
mobula::Ref<std::vector<double>> put_range(std::size_t n) {
  return mobula::Runtime::current().put(range(n));
}
struct Counter {
  int n = 0;
  int add(int k) { return n += k; }
};
void member(mobula::GangMember& self) {
  for (;;) {
    self.send("alive");
    self.receive(std::chrono::milliseconds(5));
  }
}

// Uses everything at once, until it is killed.
int busy() {
  mobula::RuntimeOptions options;
  options.isolation = mobula::Isolation::process;
  options.num_cpus = 2;
  options.memory = 8 << 20;
  options.spill_dir = std::getenv("MOBULA_TEST_SPILL");
  std::puts("up");
  std::fflush(stdout);
  mobula::Runtime rt(options);
  mobula::Gang gang(member, {.size = 2, .shared_bytes = 1 << 16});
  std::vector<mobula::Ref<std::vector<double>>> kept;
  for (int round = 0;; ++round) {
    auto counter = rt.actor<Counter>();
    std::vector<mobula::Ref<int>> calls;
    for (int i = 0; i < 20; ++i) calls.push_back(counter.call<&Counter::add>(i));
    calls.push_back(rt.remote<nested>(2));
    kept.push_back(rt.put(range(200'000)));
    kept.push_back(rt.get(rt.remote<put_range>(std::size_t{100'000})));
    if (kept.size() > 20) kept.erase(kept.begin(), kept.begin() + 2);
    rt.get(calls);
    if (rt.view(kept[static_cast<std::size_t>(round) % kept.size()])->size() < 100'000) return 1;
    gang.next_event(std::chrono::milliseconds(1));
  }
}
const mobula::testing::Program busy_program("busy", busy);

/// Returns the processes whose environment holds `mark`.
std::vector<pid_t> processes_with(const std::string& mark) {
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "environ", std::ios::binary);
    const std::string environment((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (environment.find(mark) != std::string::npos) found.push_back(std::atoi(name.c_str()));
  }
  return found;
}

std::vector<std::string> files_in(const fs::path& folder) {
  std::vector<std::string> found;
  std::error_code ignored;
  for (const auto& entry : fs::recursive_directory_iterator(folder, ignored)) found.push_back(entry.path().string());
  return found;
}

std::vector<std::string> ours_in_shared_memory() {
  std::vector<std::string> found;
  for (const std::string& path : files_in("/dev/shm")) {
    if (path.find("mobula") != std::string::npos) found.push_back(path);
  }
  return found;
}

TEST(DriverKill, LeavesNoProcessFileOrSharedMemoryBehind) {
  const char* number = std::getenv("MOBULA_TEST_KILLS");
  const int kills = number == nullptr ? 20 : std::atoi(number);
  const char* given = std::getenv("MOBULA_TEST_SEED");
  const unsigned seed = given == nullptr ? std::random_device{}() : static_cast<unsigned>(std::atol(given));
  std::printf("MOBULA_TEST_SEED=%u, %d kills\n", seed, kills);
  std::mt19937 random(seed);
  const mobula::TemporaryDirectory folder("mobula-kill");
  const std::string mark = fmt::format("MOBULA_TEST_MARK={}-{}", getpid(), seed);
  setenv("MOBULA_TEST_MARK", mark.substr(mark.find('=') + 1).c_str(), 1);
  setenv("MOBULA_TEST_SPILL", (folder.path() / "spill").c_str(), 1);
  const char* before_tmp = std::getenv("TMPDIR");
  const std::string tmp = before_tmp == nullptr ? "" : before_tmp;
  fs::create_directory(folder.path() / "tmp");
  setenv("TMPDIR", (folder.path() / "tmp").c_str(), 1);
  const auto shared_before = ours_in_shared_memory();
  for (int kill = 0; kill < kills; ++kill) {
    {
      mobula::testing::RunningProgram program("busy");
      ASSERT_EQ(program.read_line(), "up");
      const auto wait = std::chrono::microseconds(std::uniform_int_distribution<int>(0, 120'000)(random));
      std::this_thread::sleep_for(wait);
      program.kill(SIGKILL);
      const int status = program.wait();
      ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "it ended by itself: " << status;
    }
    // The kernel ends the workers with their parent; that is soon, not at once.
    for (const pid_t pid : processes_with(mark)) {
      if (pid == getpid()) continue;
      EXPECT_TRUE(mobula::testing::wait_until_gone(pid)) << "kill " << kill;
    }
    EXPECT_TRUE(processes_with(mark).empty()) << "kill " << kill;
    EXPECT_EQ(files_in(folder.path() / "tmp"), std::vector<std::string>{}) << "kill " << kill;
    EXPECT_EQ(files_in(folder.path() / "spill"), std::vector<std::string>{}) << "kill " << kill;
    EXPECT_EQ(ours_in_shared_memory(), shared_before) << "kill " << kill;
  }
  unsetenv("MOBULA_TEST_MARK");
  unsetenv("MOBULA_TEST_SPILL");
  if (before_tmp == nullptr) {
    unsetenv("TMPDIR");
  } else {
    setenv("TMPDIR", tmp.c_str(), 1);
  }
}

}  // namespace driver_kill
