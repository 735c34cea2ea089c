#include "mobula/base/processors.hpp"

#include <gtest/gtest.h>
#include <sched.h>

#include <string>

#include "mobula/base/files.hpp"

namespace mobula {
namespace {

class Processors : public ::testing::Test {
 protected:
  Processors() {
    ::sched_getaffinity(0, sizeof before_, &before_);
    if (CPU_COUNT(&before_) >= 2) return;
    has_two_ = false;
  }
  ~Processors() override { ::sched_setaffinity(0, sizeof before_, &before_); }

  void write(const std::string& name, const std::string& content) {
    const auto file = root_.path() / name;
    std::filesystem::create_directories(file.parent_path());
    write_file_atomic(file, content);
  }
  int number() const { return num_processors(root_.path()); }

  TemporaryDirectory root_{"mobula-processors"};
  cpu_set_t before_;
  bool has_two_ = true;
};

TEST_F(Processors, AreThoseThatTheProcessMayRunOn) {
  EXPECT_EQ(number(), CPU_COUNT(&before_));
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++i) {
    if (CPU_ISSET(i, &before_)) CPU_SET(i, &one);
  }
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(number(), 1);
}

TEST_F(Processors, AreFewerUnderAQuotaOfAnyGroupAround) {
  if (!has_two_) GTEST_SKIP() << "needs two processors to tell the difference";
  write("proc/self/cgroup", "0::/kubepods/pod/container\n");
  write("sys/fs/cgroup/kubepods/pod/container/cpu.max", "max 100000\n");
  EXPECT_EQ(number(), CPU_COUNT(&before_));
  write("sys/fs/cgroup/kubepods/pod/cpu.max", "110000 100000\n");
  EXPECT_EQ(number(), 2);
  write("sys/fs/cgroup/kubepods/cpu.max", "50000 100000\n");
  EXPECT_EQ(number(), 1);
}

TEST_F(Processors, AreFewerUnderAContainersOwnQuota) {
  write("proc/self/cgroup", "0::/host/path\n");
  write("sys/fs/cgroup/cpu.max", "20000 100000\n");
  EXPECT_EQ(number(), 1);
}

TEST_F(Processors, KnowGroupsOfVersionOne) {
  write("proc/self/cgroup", "5:memory:/job\n4:cpu,cpuacct:/job\n");
  write("sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "-1\n");
  write("sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(number(), CPU_COUNT(&before_));
  write("sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "90000\n");
  EXPECT_EQ(number(), 1);
}

}  // namespace
}  // namespace mobula
