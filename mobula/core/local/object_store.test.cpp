#include "mobula/core/local/object_store.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "mobula/base/files.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/wire.hpp"

namespace mobula {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

using Stored = std::shared_ptr<const StoredObject>;

class NoHandles final : public HandleWriter {
 public:
  std::uint64_t add(Object&) override { return 0; }
  std::uint64_t add(ActorCore&) override { return 0; }
};

Stored store(ObjectStore& objects, std::size_t size, char fill) {
  const std::string value(size, fill);
  NoHandles none;
  return objects.encode(
      &value,
      [](const void* at, WireWriter& out) {
        const auto& text = *static_cast<const std::string*>(at);
        out.raw(text.data(), text.size());
      },
      size, none, nullptr);
}

bool holds(const Stored& object, std::size_t size, char fill) {
  return object->pin().bytes() == std::string(size, fill);
}

TEST(ObjectStore, SpillsWhatWasNotUsedForLongestAndBringsItBack) {
  const TemporaryDirectory folder("mobula-spill");
  const auto objects = ObjectStore::make(8 * kMiB, folder.path(), 0);
  const Stored a = store(*objects, 3 * kMiB, 'a');
  const Stored b = store(*objects, 3 * kMiB, 'b');
  EXPECT_TRUE(holds(a, 3 * kMiB, 'a'));  // b is now the one not used for longest
  const Stored c = store(*objects, 3 * kMiB, 'c');
  EXPECT_EQ(objects->usage().num_spills, 1U);
  EXPECT_TRUE(holds(a, 3 * kMiB, 'a'));
  EXPECT_EQ(objects->usage().num_restores, 0U);
  EXPECT_TRUE(holds(b, 3 * kMiB, 'b'));
  EXPECT_EQ(objects->usage().num_restores, 1U);
  EXPECT_TRUE(holds(c, 3 * kMiB, 'c'));
  EXPECT_LE(objects->usage().in_memory, 8 * kMiB);
}

TEST(ObjectStore, TellsWhatTheDiskGaveBackWrong) {
  const TemporaryDirectory folder("mobula-spill");
  const auto objects = ObjectStore::make(8 * kMiB, folder.path(), 0);
  std::vector<Stored> stored;
  for (char fill = 'a'; fill < 'f'; ++fill) stored.push_back(store(*objects, 3 * kMiB, fill));
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (!std::filesystem::read_symlink(entry.path(), gone).string().starts_with(folder.path().string())) continue;
    const int file = std::stoi(entry.path().filename().string());
    ASSERT_EQ(pwrite(file, "?", 1, 1000), 1);  // one byte of the first
    ++num_files;
  }
  ASSERT_EQ(num_files, 1);
  try {
    stored[0]->pin();
    FAIL();
  } catch (const ObjectLostError& error) {
    EXPECT_NE(error.message().find(folder.path().string()), std::string::npos) << error.message();
  }
  EXPECT_TRUE(holds(stored[1], 3 * kMiB, 'b'));
}

TEST(ObjectStore, WritesAnUnchangedObjectToDiskOnce) {
  const TemporaryDirectory folder("mobula-spill");
  const auto objects = ObjectStore::make(5 * kMiB, folder.path(), 0);
  const Stored a = store(*objects, 3 * kMiB, 'a');
  const Stored b = store(*objects, 3 * kMiB, 'b');
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(holds(a, 3 * kMiB, 'a'));
    EXPECT_TRUE(holds(b, 3 * kMiB, 'b'));
  }
  EXPECT_EQ(objects->usage().num_spills, 2U);
  EXPECT_GE(objects->usage().num_restores, 9U);
}

TEST(ObjectStore, KeepsPinnedObjectsInMemory) {
  const TemporaryDirectory folder("mobula-spill");
  const auto objects = ObjectStore::make(8 * kMiB, folder.path(), 0);
  const Stored a = store(*objects, 3 * kMiB, 'a');
  const Stored b = store(*objects, 3 * kMiB, 'b');
  {
    const PinnedBytes seen = a->pin();
    const PinnedBytes seen_too = b->pin();
    try {
      store(*objects, 3 * kMiB, 'c');
      FAIL();
    } catch (const OutOfMemoryError& error) {
      EXPECT_NE(error.message().find("held by views and running tasks"), std::string::npos) << error.message();
      EXPECT_NE(error.message().find("3145728 bytes"), std::string::npos) << error.message();
      EXPECT_NE(error.hint().find("--memory"), std::string::npos) << error.hint();
    }
    EXPECT_EQ(seen.bytes().front(), 'a');
  }
  const Stored c = store(*objects, 3 * kMiB, 'c');
  EXPECT_TRUE(holds(a, 3 * kMiB, 'a'));
}

TEST(ObjectStore, GivesMemoryAndDiskBackWithTheLastHolder) {
  const TemporaryDirectory folder("mobula-spill");
  const auto objects = ObjectStore::make(4 * kMiB, folder.path(), 0);
  std::vector<Stored> held;
  for (char fill = 'a'; fill < 'k'; ++fill) held.push_back(store(*objects, kMiB, fill));
  EXPECT_EQ(objects->usage().on_disk, 6 * kMiB);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(holds(held[static_cast<std::size_t>(i)], kMiB, static_cast<char>('a' + i)));
  held.clear();
  EXPECT_EQ(objects->usage().on_disk, 0U);
  EXPECT_EQ(objects->usage().in_memory, 0U);
}

TEST(ObjectStore, KeepsToTheQuotaOfTheDisk) {
  const TemporaryDirectory folder("mobula-spill");
  const auto objects = ObjectStore::make(4 * kMiB, folder.path(), 2 * kMiB);
  std::vector<Stored> held;
  for (char fill = 'a'; fill < 'g'; ++fill) held.push_back(store(*objects, kMiB, fill));
  try {
    store(*objects, kMiB, 'x');
    FAIL();
  } catch (const OutOfMemoryError& error) {
    EXPECT_NE(error.hint().find("--spill-quota"), std::string::npos) << error.hint();
    EXPECT_NE(error.message().find(folder.path().string()), std::string::npos) << error.message();
  }
  // Coming back needs another's place on the disk: the copy of what is in memory gives way.
  for (int round = 0; round < 3; ++round) {
    held.erase(held.begin());
    for (const Stored& object : held) EXPECT_EQ(object->pin().bytes().size(), kMiB);
    held.push_back(store(*objects, kMiB, 'z'));
  }
}

TEST(ObjectStore, SaysThatSpillingIsAWayOutWhereItIsOff) {
  const auto objects = ObjectStore::make(kMiB, {}, 0);
  try {
    store(*objects, 2 * kMiB, 'x');
    FAIL();
  } catch (const OutOfMemoryError& error) {
    EXPECT_NE(error.hint().find("--spill-dir"), std::string::npos) << error.hint();
  }
}

TEST(ObjectStore, ServesThreadsThatPutAndLookAtOnce) {
  const TemporaryDirectory folder("mobula-spill");
  const auto objects = ObjectStore::make(4 * kMiB, folder.path(), 0);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int id = 0; id < 4; ++id) {
    threads.emplace_back([&, id] {
      const char fill = static_cast<char>('a' + id);
      std::vector<Stored> mine;
      for (int round = 0; round < 60; ++round) {
        mine.push_back(store(*objects, 200'000, fill));
        if (mine.size() > 30) mine.erase(mine.begin());
        if (!holds(mine[static_cast<std::size_t>(round) % mine.size()], 200'000, fill)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(objects->usage().in_memory, 0U);
  EXPECT_GT(objects->usage().num_restores, 0U);
}

}  // namespace
}  // namespace mobula
