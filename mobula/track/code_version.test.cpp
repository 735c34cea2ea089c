#include "mobula/track/code_version.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "mobula/base/files.hpp"
#include "mobula/base/version.hpp"
#include "mobula/track/git_index.hpp"

namespace mobula::track {
namespace {

namespace fs = std::filesystem;

/// A repository of its own with one commit of two files.
class CodeVersionTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(work_tree() / "folder");
    write("a.txt", "one");
    write("folder/b.txt", "two");
    git("init -q -b main");
    git("add .");
    git("commit -q -m first");
  }
  fs::path work_tree() const { return directory_.path() / "project"; }
  void write(std::string_view name, std::string_view text) const { std::ofstream(work_tree() / name) << text; }
  void git(std::string_view arguments, std::string_view folder = "project") const {
    const std::string command =
        "GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 git -c user.name=t -c user.email=t@t -C " +
        (directory_.path() / folder).string() + " " + std::string(arguments) + " >/dev/null 2>&1";
    ASSERT_EQ(std::system(command.c_str()), 0) << arguments;
  }
  std::string output(std::string_view arguments) const {
    const fs::path file = directory_.path() / "output";
    const std::string command =
        "git -C " + work_tree().string() + " " + std::string(arguments) + " >" + file.string() + " 2>/dev/null";
    EXPECT_EQ(std::system(command.c_str()), 0) << arguments;
    std::string text = read_file(file);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  }
  std::optional<bool> dirty() const { return read_code_version(work_tree()).dirty; }

  TemporaryDirectory directory_;
};

TEST_F(CodeVersionTest, NamesTheCommitOfACleanCheckout) {
  const CodeVersion version = read_code_version(work_tree() / "folder");
  EXPECT_EQ(version.commit, output("rev-parse HEAD"));
  EXPECT_EQ(version.dirty, false);
  EXPECT_EQ(version.to_string(), version.commit.substr(0, 12) + " mobula " + std::string(mobula::version()));
}

TEST_F(CodeVersionTest, SeesAChangedFile) {
  write("a.txt", "changed");
  EXPECT_EQ(dirty(), true);
  EXPECT_NE(read_code_version(work_tree()).to_string().find("+dirty"), std::string::npos);
}

TEST_F(CodeVersionTest, SeesAChangeOfTheSameLength) {
  write("a.txt", "eno");
  EXPECT_EQ(dirty(), true);
}

TEST_F(CodeVersionTest, SeesARemovedFile) {
  fs::remove(work_tree() / "folder/b.txt");
  EXPECT_EQ(dirty(), true);
}

TEST_F(CodeVersionTest, SeesAStagedChange) {
  write("a.txt", "changed");
  git("add a.txt");
  EXPECT_EQ(dirty(), true);
}

TEST_F(CodeVersionTest, SeesAChangedPermission) {
  fs::permissions(work_tree() / "a.txt", fs::perms::owner_exec, fs::perm_options::add);
  EXPECT_EQ(dirty(), true);
}

TEST_F(CodeVersionTest, IgnoresUntrackedFilesAndNewTimes) {
  write("new.txt", "untracked");
  write("a.txt", "one");
  EXPECT_EQ(dirty(), false);
}

TEST_F(CodeVersionTest, FollowsSymbolicLinksByTheirTarget) {
  fs::create_symlink("a.txt", work_tree() / "link");
  git("add link");
  git("commit -q -m link");
  EXPECT_EQ(dirty(), false);
  fs::remove(work_tree() / "link");
  fs::create_symlink("b.txt", work_tree() / "link");
  EXPECT_EQ(dirty(), true);
}

TEST_F(CodeVersionTest, ReadsPackedRefsAndDetachedHeads) {
  git("pack-refs --all");
  EXPECT_EQ(read_code_version(work_tree()).commit, output("rev-parse HEAD"));
  git("checkout -q --detach");
  EXPECT_EQ(read_code_version(work_tree()).commit, output("rev-parse HEAD"));
}

TEST_F(CodeVersionTest, ReadsLinkedWorktrees) {
  git("worktree add ../linked -b other");
  const CodeVersion version = read_code_version(directory_.path() / "linked");
  EXPECT_EQ(version.commit, output("rev-parse HEAD"));
  EXPECT_EQ(version.dirty, false);
}

TEST_F(CodeVersionTest, ReadsIndexesOfEveryVersion) {
  for (const char* number : {"3", "4", "2"}) {
    git(std::string("update-index --force-write-index --index-version ") + number);
    write("a.txt", "one");
    EXPECT_EQ(dirty(), false) << number;
    write("a.txt", "two");
    EXPECT_EQ(dirty(), true) << number;
    write("a.txt", "one");
    const auto index = parse_git_index(read_file(work_tree() / ".git/index"));
    ASSERT_TRUE(index.has_value()) << number;
    ASSERT_EQ(index->entries.size(), 2u);
    EXPECT_EQ(index->entries[1].path, "folder/b.txt");
    EXPECT_EQ(index->entries[1].bytes, 3u);
  }
}

TEST_F(CodeVersionTest, RefusesEveryTruncationOfAnIndex) {
  const std::string bytes = read_file(work_tree() / ".git/index");
  for (std::size_t size = 0; size + 20 < bytes.size(); ++size) {
    const auto index = parse_git_index(std::string_view(bytes).substr(0, size));
    // A cut right after the entries reads as an index without extensions; all others are refused.
    if (index) {
      EXPECT_EQ(index->tree_is_current, std::nullopt);
    }
  }
  EXPECT_TRUE(parse_git_index(bytes).has_value());
}

TEST(CodeVersionOutside, HasOnlyMobulasVersion) {
  const TemporaryDirectory directory;
  const CodeVersion version = read_code_version(directory.path());
  EXPECT_EQ(version.commit, "");
  EXPECT_EQ(version.to_string(), "mobula " + std::string(mobula::version()));
}

TEST(CodeVersionOutside, TakesACheckoutWithoutCommits) {
  const TemporaryDirectory directory;
  fs::create_directories(directory.path() / ".git");
  std::ofstream(directory.path() / ".git/HEAD") << "ref: refs/heads/main\n";
  EXPECT_EQ(read_code_version(directory.path()).commit, "");
}

}  // namespace
}  // namespace mobula::track
