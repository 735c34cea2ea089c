#include "mobula/base/memory_limit.hpp"

#include <gtest/gtest.h>

#include <string>

#include "mobula/base/files.hpp"

namespace mobula {
namespace {

class MemoryLimit : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& content) {
    const auto file = root_.path() / name;
    std::filesystem::create_directories(file.parent_path());
    write_file_atomic(file, content);
  }
  void machine_of(std::uint64_t kilobytes) {
    write("proc/meminfo", "MemTotal:       " + std::to_string(kilobytes) + " kB\nMemFree:        12 kB\n");
  }
  std::uint64_t limit() const { return memory_limit(root_.path()); }

  TemporaryDirectory root_{"mobula-memory"};
};

TEST_F(MemoryLimit, IsTheMachinesMemoryWithoutGroups) {
  machine_of(2048);
  EXPECT_EQ(limit(), 2048u * 1024);
}

TEST_F(MemoryLimit, IsTheLeastOfTheGroupsAroundTheProcess) {
  machine_of(1 << 20);
  write("proc/self/cgroup", "0::/slice/job/step\n");
  write("sys/fs/cgroup/slice/job/step/memory.max", "max\n");
  EXPECT_EQ(limit(), std::uint64_t{1} << 30);
  write("sys/fs/cgroup/slice/memory.max", "300000000\n");
  EXPECT_EQ(limit(), 300000000u);
  write("sys/fs/cgroup/slice/job/memory.max", "200000000\n");
  EXPECT_EQ(limit(), 200000000u);
}

TEST_F(MemoryLimit, IsAContainersOwnWhereItsPathIsTheHosts) {
  machine_of(1 << 20);
  write("proc/self/cgroup", "0::/kubepods/pod7/container\n");
  write("sys/fs/cgroup/memory.max", "123456789\n");
  EXPECT_EQ(limit(), 123456789u);
}

TEST_F(MemoryLimit, KnowsGroupsOfVersionOne) {
  machine_of(1 << 20);
  write("proc/self/cgroup", "5:devices:/\n4:memory:/job\n0::/\n");
  write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "77777777\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(limit(), 77777777u);
}

TEST_F(MemoryLimit, TakesNothingFromLinesOfAnotherMake) {
  machine_of(4096);
  write("proc/self/cgroup", "a line\n\n0::/nowhere\n");
  EXPECT_EQ(limit(), 4096u * 1024);
}

TEST(MemoryLimitOfThisMachine, IsSomeMemory) {
  EXPECT_GT(memory_limit(), std::uint64_t{64} << 20);
  EXPECT_LT(memory_limit(), std::uint64_t{1} << 50);
}

}  // namespace
}  // namespace mobula
