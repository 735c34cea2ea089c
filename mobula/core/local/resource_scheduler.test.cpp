#include "mobula/core/local/resource_scheduler.hpp"

#include <gtest/gtest.h>

#include <string>

#include "mobula/core/errors.hpp"

namespace mobula {
namespace {

ResourceSet amounts(std::map<std::string, Amount> values) {
  return ResourceSet(std::move(values));
}

/// A scheduler over custom resources, which need no slots, and a record of what it started.
struct Recorder {
  ResourceScheduler scheduler{amounts({{"a", 2}, {"b", 1}}), [](int) {}, [](int) {}};
  std::string started;
  std::string failed;
  std::uint64_t acquire(char name, const ResourceSet& need) {
    return scheduler.acquire(
        need, [this, name] { started += name; }, [this, name](const std::exception_ptr&) { failed += name; });
  }
};

TEST(ResourceScheduler, LetsLaterWorkPassOnlyWithWhatNobodyBeforeItWaitsFor) {
  Recorder r;
  r.acquire('1', amounts({{"a", 1.5}}));
  r.acquire('2', amounts({{"a", 1}}));    // waits
  r.acquire('3', amounts({{"a", 0.5}}));  // would fit, but 2 waits for it
  r.acquire('4', amounts({{"b", 1}}));    // nobody waits for b
  EXPECT_EQ(r.started, "14");
  r.scheduler.release(amounts({{"a", 1.5}}));
  EXPECT_EQ(r.started, "1423");
}

TEST(ResourceScheduler, StartsABigOneThoughSmallOnesKeepComing) {
  Recorder r;
  const ResourceSet small = amounts({{"a", 1}});
  r.acquire('s', small);
  r.acquire('s', small);
  r.acquire('B', amounts({{"a", 2}}));
  for (int i = 0; i < 100; ++i) r.acquire('s', small);
  EXPECT_EQ(r.started, "ss");
  r.scheduler.release(small);
  EXPECT_EQ(r.started, "ss");
  r.scheduler.release(small);
  EXPECT_EQ(r.started, "ssB");
}

TEST(ResourceScheduler, KeepsResourcesForTheOldestOfAKindAlone) {
  Recorder r;
  const ResourceSet both = amounts({{"a", 0.5}, {"b", 1}});
  for (int i = 0; i < 10; ++i) r.acquire('b', both);
  EXPECT_EQ(r.started, "b");
  // One waits for b and has 0.5 of a kept for it; the nine behind it don't keep the rest of a idle.
  r.acquire('a', amounts({{"a", 1}}));
  EXPECT_EQ(r.started, "ba");
  r.scheduler.release(both);
  EXPECT_EQ(r.started, "bab");
}

TEST(ResourceScheduler, AddsFractionsUpExactly) {
  Recorder r;
  for (int i = 0; i < 20; ++i) r.acquire('x', amounts({{"a", 0.1}}));
  EXPECT_EQ(r.started.size(), 20U);
  r.acquire('y', amounts({{"a", 0.0001}}));
  EXPECT_EQ(r.started.size(), 20U);
}

TEST(ResourceScheduler, WithdrawsWhatHasNotStarted) {
  Recorder r;
  const auto first = r.acquire('1', amounts({{"a", 2}}));
  const auto second = r.acquire('2', amounts({{"a", 2}, {"b", 1}}));
  r.acquire('3', amounts({{"b", 1}}));
  EXPECT_EQ(r.started, "1");
  EXPECT_FALSE(r.scheduler.withdraw(first));
  EXPECT_TRUE(r.scheduler.withdraw(second));
  EXPECT_EQ(r.started, "13");
}

TEST(ResourceScheduler, FailsWhoWaitsForWhatIsRetiredAndGivesTheRestBackLater) {
  Recorder r;
  r.acquire('g', amounts({{"a", 2}}));
  r.scheduler.offer(amounts({{"a@1.0", 2}}));
  r.acquire('1', amounts({{"a@1.0", 2}}));
  r.acquire('2', amounts({{"a@1.0", 1}}));
  r.acquire('3', amounts({{"a", 1}}));
  EXPECT_EQ(r.started, "g1");
  r.scheduler.retire(amounts({{"a@1.0", 2}}), amounts({{"a", 2}}), std::make_exception_ptr(ResourceError("gone")));
  EXPECT_EQ(r.failed, "2");
  EXPECT_EQ(r.started, "g1");
  r.scheduler.release(amounts({{"a@1.0", 2}}));
  EXPECT_EQ(r.started, "g13");
  EXPECT_EQ(r.scheduler.total().get("a@1.0"), Amount{});
}

TEST(ResourceScheduler, RefusesWhatTheMachineLacks) {
  Recorder r;
  EXPECT_THROW(r.scheduler.check(amounts({{"a", 2.5}}), "f"), ResourceError);
  EXPECT_THROW(r.scheduler.check(amounts({{"c", 1}}), "f"), ResourceError);
  EXPECT_THROW(r.scheduler.check(amounts({{"a", -1}}), "f"), Error);
  r.scheduler.check(amounts({{"a", 2}, {"b", 1}}), "f");
}

}  // namespace
}  // namespace mobula
