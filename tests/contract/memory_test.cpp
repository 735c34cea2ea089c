// Objects within a budget of memory: the rest goes to disk and comes back, and what fits nowhere is refused by name.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "mobula/base/files.hpp"
#include "mobula/core.hpp"

namespace contract_memory {

using mobula::Isolation;
using mobula::Ref;
using mobula::Runtime;
using mobula::RuntimeOptions;

constexpr std::size_t kMiB = std::size_t{1} << 20;

std::vector<std::uint64_t> block(std::uint64_t seed) {
  std::vector<std::uint64_t> values(kMiB / 8);
  std::iota(values.begin(), values.end(), seed * 1'000'000);
  return values;
}
std::uint64_t sum(const std::vector<std::uint64_t>& values) {
  return std::accumulate(values.begin(), values.end(), std::uint64_t{0});
}
std::uint64_t sum_view(mobula::View<std::vector<std::uint64_t>> values) {
  return std::accumulate(values->begin(), values->end(), std::uint64_t{0});
}
// Puts more than the memory holds, keeps it all, and looks at it again.
std::uint64_t put_and_sum(int count) {
  Runtime& rt = Runtime::current();
  std::vector<Ref<std::vector<std::uint64_t>>> refs;
  for (int i = 0; i < count; ++i) refs.push_back(rt.put(block(static_cast<std::uint64_t>(i))));
  std::uint64_t total = 0;
  for (const auto& ref : refs) {
    const auto view = rt.view(ref);
    total += std::accumulate(view->begin(), view->end(), std::uint64_t{0});
  }
  return total;
}

struct Spilling : testing::Test {
  mobula::TemporaryDirectory folder{"mobula-spill"};
  RuntimeOptions options(std::uint64_t quota = 0) const {
    RuntimeOptions made;
    made.isolation = Isolation::process;
    made.num_cpus = 2;
    made.memory = 12 * kMiB;
    made.spill_dir = folder.path();
    made.spill_quota = quota;
    return made;
  }
};

TEST_F(Spilling, SpillsWhatIsPutAndWhatTasksReturnAndBringsItBack) {
  Runtime rt(options());
  std::vector<Ref<std::vector<std::uint64_t>>> refs;
  for (std::uint64_t i = 0; i < 20; ++i) {
    refs.push_back(i % 2 == 0 ? rt.put(block(i)) : rt.remote<block>(i));
  }
  for (int round = 0; round < 2; ++round) {
    for (std::uint64_t i = 0; i < 20; ++i) {
      EXPECT_EQ(rt.get(rt.remote<sum>(refs[i])), sum(block(i))) << i;
      EXPECT_EQ(rt.get(rt.remote<sum_view>(refs[i])), sum(block(i))) << i;
      EXPECT_EQ(rt.view(refs[i])->back(), block(i).back()) << i;
    }
  }
  EXPECT_EQ(rt.get(refs), rt.get(refs));
}

TEST_F(Spilling, SpillsWhatAWorkerPuts) {
  Runtime rt(options());
  std::uint64_t expected = 0;
  for (std::uint64_t i = 0; i < 20; ++i) expected += sum(block(i));
  EXPECT_EQ(rt.get(rt.remote<put_and_sum>(20)), expected);
}

TEST_F(Spilling, RefusesWhatFitsNeitherInMemoryNorOnDiskAndGoesOn) {
  Runtime rt(options(4 * kMiB));
  std::vector<Ref<std::vector<std::uint64_t>>> refs;
  try {
    for (std::uint64_t i = 0; i < 40; ++i) refs.push_back(rt.put(block(i)));
    FAIL();
  } catch (const mobula::OutOfMemoryError& error) {
    EXPECT_NE(error.message().find("12.6 MB"), std::string::npos) << error.message();
    EXPECT_NE(error.message().find(folder.path().string()), std::string::npos) << error.message();
    EXPECT_NE(error.hint().find("--spill-quota"), std::string::npos) << error.hint();
  }
  EXPECT_GT(refs.size(), 10U);
  // A task that returns one more fails as it should, and what was there stays.
  EXPECT_THROW(rt.get(rt.remote<block>(std::uint64_t{7})), mobula::OutOfMemoryError);
  for (std::size_t i = 0; i < refs.size(); ++i) EXPECT_EQ(rt.view(refs[i])->front(), i * 1'000'000);
  refs.resize(2);
  EXPECT_EQ(rt.get(rt.remote<block>(std::uint64_t{7})), block(7));
}

TEST_F(Spilling, KeepsInMemoryWhatIsLookedAt) {
  Runtime rt(options(64 * kMiB));
  std::vector<mobula::View<std::vector<std::uint64_t>>> views;
  std::vector<Ref<std::vector<std::uint64_t>>> refs;
  for (std::uint64_t i = 0; i < 6; ++i) {
    refs.push_back(rt.put(block(i)));
    views.push_back(rt.view(refs.back()));
  }
  for (std::uint64_t i = 0; i < 30; ++i) refs.push_back(rt.put(block(i)));
  for (std::uint64_t i = 0; i < 6; ++i)
    EXPECT_EQ(std::accumulate(views[i]->begin(), views[i]->end(), 0UL), sum(block(i)));
}

TEST_F(Spilling, LeavesNothingInTheFolder) {
  {
    Runtime rt(options());
    std::vector<Ref<std::vector<std::uint64_t>>> refs;
    for (std::uint64_t i = 0; i < 20; ++i) refs.push_back(rt.put(block(i)));
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST_F(Spilling, SharesThreadsValuesOnlyWhereTheyAreAskedTo) {
  RuntimeOptions made = options();
  made.isolation = Isolation::thread;
  Runtime rt(made);
  std::vector<Ref<std::vector<std::uint64_t>>> refs;
  for (std::uint64_t i = 0; i < 20; ++i) refs.push_back(rt.put(block(i), {.shared = true}));
  for (std::uint64_t i = 0; i < 20; ++i) EXPECT_EQ(rt.get(rt.remote<sum_view>(refs[i])), sum(block(i)));
}

// With one processor, a task in a thread and one in a process take turns.
bool alone(std::string mark, int hold_ms) {
  std::FILE* file = std::fopen(mark.c_str(), "wx");
  if (file == nullptr) return false;
  std::fclose(file);
  usleep(static_cast<useconds_t>(hold_ms) * 1000);
  std::remove(mark.c_str());
  return true;
}

TEST_F(Spilling, ProcessTasksCountAgainstTheSameProcessorsAsThreads) {
  Runtime rt(RuntimeOptions{.num_cpus = 1});
  const std::string mark = (folder.path() / "mark").string();
  std::vector<Ref<bool>> refs;
  for (int i = 0; i < 10; ++i) {
    refs.push_back(rt.with(mobula::TaskOptions{.isolation = Isolation::process}).remote<alone>(mark, 5));
    refs.push_back(rt.remote<alone>(mark, 5));
  }
  for (const auto& ref : refs) EXPECT_TRUE(rt.get(ref));
}

}  // namespace contract_memory
