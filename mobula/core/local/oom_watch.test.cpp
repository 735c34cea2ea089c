#include "mobula/core/local/oom_watch.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "mobula/base/files.hpp"

namespace mobula {
namespace {

struct OomWatchTest : testing::Test {
  TemporaryDirectory folder{"mobula-oom"};
  void write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories((folder.path() / path).parent_path());
    std::ofstream(folder.path() / path) << text;
  }
};

TEST_F(OomWatchTest, ReadsTheCountOfTheControlGroupOfVersionTwo) {
  write("proc/self/cgroup", "0::/user/job\n");
  write("proc/vmstat", "nr_free_pages 3\noom_kill 90\n");
  write("sys/fs/cgroup/user/job/memory.events", "low 0\nhigh 0\nmax 12\noom 2\noom_kill 2\n");
  EXPECT_EQ(OomWatch(folder.path()).num_kills(), 2U);
}

TEST_F(OomWatchTest, ReadsTheCountOfTheControlGroupOfVersionOne) {
  write("proc/self/cgroup", "5:devices:/\n4:memory:/job\n0::/\n");
  write("sys/fs/cgroup/memory/job/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n");
  EXPECT_EQ(OomWatch(folder.path()).num_kills(), 4U);
}

TEST_F(OomWatchTest, TakesTheContainersOwnGroupWhereThePathIsTheHosts) {
  write("proc/self/cgroup", "0::/kubepods/pod7/container\n");
  write("sys/fs/cgroup/memory.events", "oom_kill 1\n");
  EXPECT_EQ(OomWatch(folder.path()).num_kills(), 1U);
}

TEST_F(OomWatchTest, FallsBackToTheMachinesCount) {
  write("proc/self/cgroup", "a line of another make\n0::/nowhere\n");
  write("proc/vmstat", "nr_free_pages 3\noom_kill 7\n");
  EXPECT_EQ(OomWatch(folder.path()).num_kills(), 7U);
  EXPECT_EQ(OomWatch(folder.path() / "empty").num_kills(), 0U);
}

TEST_F(OomWatchTest, ExplainsAsManyDeathsAsWereCounted) {
  write("proc/vmstat", "oom_kill 5\n");
  OomWatch watch(folder.path());
  EXPECT_FALSE(watch.explains_death(5));
  // Two die at once, and a third later, of somebody's kill -9.
  write("proc/vmstat", "oom_kill 7\n");
  EXPECT_TRUE(watch.explains_death(5));
  EXPECT_TRUE(watch.explains_death(5));
  EXPECT_FALSE(watch.explains_death(5));
}

TEST_F(OomWatchTest, ExplainsNothingByKillsBeforeTheProcessBegan) {
  write("proc/vmstat", "oom_kill 5\n");
  OomWatch watch(folder.path());
  write("proc/vmstat", "oom_kill 6\n");
  EXPECT_FALSE(watch.explains_death(6));
  write("proc/vmstat", "oom_kill 7\n");
  EXPECT_TRUE(watch.explains_death(6));
  EXPECT_FALSE(watch.explains_death(5));
}

}  // namespace
}  // namespace mobula
