#include "mobula/data/tokens/training_text.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/data/tokens/download.hpp"
#include "mobula/data/tokens/sha256.hpp"

namespace mobula::data {
namespace {

namespace fs = std::filesystem;

/// Sets an environment variable for a test and restores it.
class ScopedEnvironment {
 public:
  ScopedEnvironment(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    ::setenv(name, value.c_str(), 1);
  }
  ~ScopedEnvironment() { ::setenv(name_, old_.c_str(), 1); }

 private:
  const char* name_;
  std::string old_;
};

ErrorCode refusal(const fs::path& path, std::string* message = nullptr) {
  try {
    read_training_text(path);
  } catch (const Error& error) {
    if (message != nullptr) *message = error.message();
    return error.code();
  }
  return ErrorCode::internal;
}

TEST(Sha256, MatchesTheStandardsExample) {
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 digest;
  digest.update("a");
  digest.update("bc");
  EXPECT_EQ(digest.finish(), sha256("abc"));
}

TEST(TrainingText, ReadsATextAsOneDocument) {
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() / "a.txt", "h\xC3\xA9llo\n");
  const TrainingText text = read_training_text(folder.path() / "a.txt");
  ASSERT_EQ(text.texts.size(), 1u);
  EXPECT_EQ(text.texts[0], "h\xC3\xA9llo\n");
  EXPECT_EQ(text.sha256, sha256("h\xC3\xA9llo\n"));
}

TEST(TrainingText, RefusesWhatIsMissingEmptyOrBinaryByName) {
  const TemporaryDirectory folder;
  EXPECT_EQ(refusal(folder.path() / "none.txt"), ErrorCode::not_found);
  write_file_atomic(folder.path() / "empty.txt", "");
  EXPECT_EQ(refusal(folder.path() / "empty.txt"), ErrorCode::invalid_argument);
  std::string message;
  write_file_atomic(folder.path() / "nul.bin", std::string_view("ab\0cd", 5));
  EXPECT_EQ(refusal(folder.path() / "nul.bin", &message), ErrorCode::invalid_argument);
  EXPECT_NE(message.find("nul.bin: looks binary: byte 2"), std::string::npos) << message;
  write_file_atomic(folder.path() / "latin.bin", "abc\xE9\xE8\xFF\xFE");
  EXPECT_EQ(refusal(folder.path() / "latin.bin"), ErrorCode::invalid_argument);
}

TEST(TrainingText, KeepsATextWithFewBrokenCharacters) {
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() / "a.txt", std::string(500, 'x') + "\xFF" + std::string(500, 'y'));
  EXPECT_EQ(read_training_text(folder.path() / "a.txt").texts[0].size(), 1001u);
}

TEST(TrainingText, ReadsTheColumnOfATable) {
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() / "a.jsonl", "{\"id\": 1, \"body\": \"one\"}\n{\"id\": 2, \"body\": \"two\"}\n");
  const TrainingText text = read_training_text(folder.path() / "a.jsonl", {.format = "jsonl", .column = "body"});
  ASSERT_EQ(text.texts.size(), 2u);
  EXPECT_EQ(text.texts[1], "two");
  write_file_atomic(folder.path() / "none.jsonl", "");
  EXPECT_THROW(read_training_text(folder.path() / "none.jsonl"), Error);
}

TEST(TrainingText, IsFoundInTheDataFolderUnlessAPathIsGiven) {
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() / "tinyshakespeare.txt", "To be");
  const ScopedEnvironment data("MOBULA_DATA", folder.path().string());
  EXPECT_EQ(find_training_text(""), folder.path() / "tinyshakespeare.txt");
  write_file_atomic(folder.path() / "own.txt", "mine");
  EXPECT_EQ(find_training_text(folder.path() / "own.txt"), folder.path() / "own.txt");
  try {
    find_training_text(folder.path() / "absent.txt");
    FAIL() << "a path that does not exist was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_NE(error.message().find("absent.txt"), std::string::npos);
  }
}

TEST(Download, LeavesAFileOnlyWhenItsDigestIsRight) {
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() / "served.txt", "Alas, poor Yorick");
  const std::string url = "file://" + (folder.path() / "served.txt").string();
  const fs::path target = folder.path() / "cache" / "got.txt";
  try {
    download_file(url, sha256("something else"), target);
    FAIL() << "a wrong digest was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::corrupt);
  }
  EXPECT_TRUE(fs::is_empty(folder.path() / "cache"));
  download_file(url, sha256("Alas, poor Yorick"), target);
  EXPECT_EQ(read_file(target), "Alas, poor Yorick");
}

TEST(Download, DoesNotFetchWhatIsThere) {
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() / "got.txt", "here");
  download_file("file:///nonexistent", sha256("here"), folder.path() / "got.txt");
  EXPECT_THROW(download_file("file:///nonexistent", sha256("there"), folder.path() / "got.txt"), Error);
}

}  // namespace
}  // namespace mobula::data
