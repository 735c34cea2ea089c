#include "mobula/data/tokens/token_windows.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <vector>

#include "mobula/base/error.hpp"

namespace mobula::data {
namespace {

/// A file of the ids 0, 1, 2, ... so that an id tells its position.
TokenFile counting_file(const TemporaryDirectory& folder, std::size_t count) {
  std::vector<std::int32_t> ids(count);
  std::iota(ids.begin(), ids.end(), 0);
  write_token_file(folder.path() / "tokens.bin", ids, count);
  return TokenFile(folder.path() / "tokens.bin");
}

TEST(TokenFile, RoundTripsBothWidths) {
  const TemporaryDirectory folder;
  for (const std::size_t vocab : {std::size_t{300}, std::size_t{70000}}) {
    const std::vector<std::int32_t> ids = {0, 299, 7, 255, 256};
    write_token_file(folder.path() / "t.bin", ids, vocab);
    const TokenFile file(folder.path() / "t.bin");
    std::vector<std::int64_t> got(3);
    file.copy(1, got);
    EXPECT_EQ(got, (std::vector<std::int64_t>{299, 7, 255}));
    EXPECT_EQ(file.vocab_size(), vocab);
    EXPECT_EQ(file.size(), ids.size());
  }
}

TEST(TokenFile, RefusesIdsOutsideTheVocabulary) {
  const TemporaryDirectory folder;
  const std::vector<std::int32_t> ids = {0, 5};
  EXPECT_THROW(write_token_file(folder.path() / "t.bin", ids, 5), Error);
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "t.bin"));
}

TEST(TokenFile, RefusesATruncatedFile) {
  const TemporaryDirectory folder;
  counting_file(folder, 100);
  const auto path = folder.path() / "tokens.bin";
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 3);
  try {
    const TokenFile file(path);
    FAIL() << "a truncated file was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::corrupt);
    EXPECT_NE(error.message().find("tokens.bin"), std::string::npos);
  }
}

TEST(Permute, IsAPermutationForEverySize) {
  for (const std::uint64_t size : {1, 2, 3, 4, 5, 17, 64, 1000}) {
    std::set<std::uint64_t> seen;
    for (std::uint64_t i = 0; i < size; ++i) {
      const std::uint64_t to = permute(i, size, 42, 3);
      EXPECT_LT(to, size);
      seen.insert(to);
    }
    EXPECT_EQ(seen.size(), size);
  }
}

TEST(Permute, DiffersBetweenKeysAndStreams) {
  std::size_t same_key = 0;
  std::size_t same_stream = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    same_key += permute(i, 1000, 1, 0) == permute(i, 1000, 2, 0);
    same_stream += permute(i, 1000, 1, 0) == permute(i, 1000, 1, 1);
  }
  EXPECT_LT(same_key, 20u);
  EXPECT_LT(same_stream, 20u);
}

TEST(TokenWindows, VisitsEveryWindowOfAnEpochOnce) {
  const TemporaryDirectory folder;
  const TokenWindows windows(counting_file(folder, 1003), 0, 1003, 10, "split");
  for (std::uint64_t epoch = 0; epoch < 5; ++epoch) {
    std::set<std::uint64_t> begins;
    for (std::uint64_t k = 0; k < windows.samples_per_epoch(); ++k) {
      const std::uint64_t begin = windows.sample_begin(7, epoch * windows.samples_per_epoch() + k);
      EXPECT_LE(begin + 11, 1003u);
      begins.insert(begin);
    }
    EXPECT_EQ(begins.size(), windows.samples_per_epoch());
    EXPECT_EQ((*begins.rbegin() - *begins.begin()) % 10, 0u);
  }
  EXPECT_NE(windows.sample_begin(7, 0) % 10, windows.sample_begin(7, windows.samples_per_epoch()) % 10);
}

TEST(TokenWindows, GivesASampleByItsIndexAlone) {
  const TemporaryDirectory folder;
  const TokenFile file = counting_file(folder, 5000);
  const TokenWindows first(file, 100, 5000, 16, "split");
  const TokenWindows second(file, 100, 5000, 16, "split");
  std::vector<std::int64_t> ids(16), targets(16), again(16), ignored(16);
  second.copy_sample(1, 11, again, ignored);  // another order of calls must not matter
  for (const std::uint64_t k : {11, 3, 900}) {
    first.copy_sample(1, k, ids, targets);
    second.copy_sample(1, k, again, ignored);
    EXPECT_EQ(ids, again);
    EXPECT_GE(ids.front(), 100);
    for (std::size_t i = 0; i < 16; ++i) {
      EXPECT_EQ(ids[i], ids[0] + static_cast<std::int64_t>(i));
      EXPECT_EQ(targets[i], ids[i] + 1);
    }
  }
}

TEST(TokenWindows, OrderedWindowsMakeEveryTokenButTheFirstATargetOnce) {
  const TemporaryDirectory folder;
  const TokenWindows windows(counting_file(folder, 1000), 900, 1000, 16, "validation split");
  std::vector<std::int64_t> seen;
  for (std::uint64_t i = 0; i < windows.num_ordered(); ++i) {
    std::vector<std::int64_t> ids(windows.ordered_length(i)), targets(windows.ordered_length(i));
    windows.copy_ordered(i, ids, targets);
    EXPECT_EQ(ids.front() + 1, targets.front());
    seen.insert(seen.end(), targets.begin(), targets.end());
  }
  std::vector<std::int64_t> expected(99);
  std::iota(expected.begin(), expected.end(), 901);
  EXPECT_EQ(seen, expected);
}

TEST(TokenWindows, WorksOnExactlyOneWindowAndRefusesLess) {
  const TemporaryDirectory folder;
  const TokenFile file = counting_file(folder, 17);
  const TokenWindows windows(file, 0, 17, 16, "training split");
  EXPECT_EQ(windows.samples_per_epoch(), 1u);
  EXPECT_EQ(windows.sample_begin(3, 12345), 0u);
  try {
    const TokenWindows refused(file, 1, 17, 16, "training split");
    FAIL() << "a range of 16 tokens has no window of 17";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_NE(error.message().find("training split"), std::string::npos);
  }
}

}  // namespace
}  // namespace mobula::data
