#include "mobula/base/files.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "mobula/base/error.hpp"

namespace mobula {
namespace {

namespace fs = std::filesystem;

size_t num_entries(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(Files, WritesAtomicallyAndLeavesNoTemporaryFile) {
  const TemporaryDirectory folder;
  const fs::path path = folder.path() / "deep/er/file.txt";
  write_file_atomic(path, "one");
  write_file_atomic(path, "two");
  EXPECT_EQ(read_file(path), "two");
  EXPECT_EQ(num_entries(path.parent_path()), 1u);
}

TEST(Files, LeavesTheOldContentWhenAWriteIsGivenUp) {
  const TemporaryDirectory folder;
  const fs::path path = folder.path() / "file";
  write_file_atomic(path, "old");
  {
    AtomicFile file(path);
    file.write("half of the new");
  }
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(num_entries(folder.path()), 1u);
}

TEST(Files, KeepsTheOldContentWhenTheDiskRefuses) {
  const TemporaryDirectory folder;
  const fs::path path = folder.path() / "file";
  write_file_atomic(path, "old");
  // A file size limit makes write() fail half-way, as a full disk would; in a child, because it can't be raised again.
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write_file_atomic(path, std::string(100000, 'x'));
    } catch (const Error& error) {
      ::_exit(error.code() == ErrorCode::io ? 7 : 1);
    }
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(num_entries(folder.path()), 1u);
}

TEST(Files, NamesWhatIsMissingOrTooLarge) {
  const TemporaryDirectory folder;
  try {
    read_file(folder.path() / "nothing");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_NE(error.message().find("nothing: no such file"), std::string::npos);
  }
  write_file_atomic(folder.path() / "big", std::string(100, 'x'));
  EXPECT_THROW(read_file(folder.path() / "big", 99), Error);
  EXPECT_THROW(read_file(folder.path()), Error);
}

TEST(Files, MapsFilesAndEmptyFiles) {
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() / "a", "hello");
  write_file_atomic(folder.path() / "empty", "");
  MappedFile file(folder.path() / "a");
  const char* address = file.text().data();
  const MappedFile moved = std::move(file);
  EXPECT_EQ(moved.text(), "hello");
  EXPECT_EQ(moved.text().data(), address);
  EXPECT_TRUE(MappedFile(folder.path() / "empty").bytes().empty());
}

TEST(Files, ReplacesLinksInOneStep) {
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() / "a", "a");
  write_file_atomic(folder.path() / "b", "b");
  replace_symlink("a", folder.path() / "last");
  replace_symlink("b", folder.path() / "last");
  EXPECT_EQ(read_file(folder.path() / "last"), "b");
  EXPECT_EQ(num_entries(folder.path()), 3u);
}

}  // namespace
}  // namespace mobula
