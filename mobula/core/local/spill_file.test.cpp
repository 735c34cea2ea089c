#include "mobula/core/local/spill_file.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <string>

#include "mobula/base/files.hpp"
#include "mobula/core/errors.hpp"

namespace mobula {
namespace {

std::string read(const SpillFile& file, std::uint64_t offset, std::size_t size) {
  std::string bytes(size, '\0');
  file.read(offset, bytes.data(), size);
  return bytes;
}

TEST(SpillFile, ReadsBackWhatItWroteAndLeavesNoName) {
  const TemporaryDirectory folder("mobula-spill");
  SpillFile file(folder.path() / "made" / "here", 1 << 20);
  const std::string first(10'000, 'a');
  const std::string second(5'000, 'b');
  const auto a = file.write(first);
  const auto b = file.write(second);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(read(file, *a, first.size()), first);
  EXPECT_EQ(read(file, *b, second.size()), second);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path() / "made" / "here"));
}

TEST(SpillFile, KeepsToItsQuotaAndUsesAgainWhatWasFreed) {
  const TemporaryDirectory folder("mobula-spill");
  SpillFile file(folder.path(), 16384);
  const std::string bytes(8000, 'x');
  const auto a = file.write(bytes);
  ASSERT_TRUE(a && file.write(bytes));
  EXPECT_EQ(file.used(), 16384U);
  EXPECT_EQ(file.write("y"), std::nullopt);
  file.free(*a, bytes.size());
  EXPECT_EQ(file.write(bytes), a);
}

TEST(SpillFile, SaysWhereTheDiskIsFull) {
  const TemporaryDirectory folder("mobula-spill");
  SpillFile file(folder.path(), 1 << 30);
  // The system's limit on a file's size stands for a full disk.
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit small = before;
  small.rlim_cur = 8192;
  const auto ignored = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  std::string message;
  try {
    file.write(std::string(20'000, 'x'));
  } catch (const OutOfMemoryError& error) {
    message = error.message();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, ignored);
  EXPECT_NE(message.find("is full"), std::string::npos) << message;
  EXPECT_NE(message.find(folder.path().string()), std::string::npos) << message;
  EXPECT_EQ(file.used(), 0U);
  EXPECT_TRUE(file.write("fits"));
}

TEST(SpillFile, NamesAFolderThatCanNotBeUsed) {
  try {
    SpillFile file("/proc/mobula", 0);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("/proc/mobula"), std::string::npos) << error.message();
  }
}

}  // namespace
}  // namespace mobula
