#include "mobula/jobs/package.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>

#include <map>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/random.hpp"

namespace mobula::jobs {
namespace {

namespace fs = std::filesystem;

struct Unpacked {
  std::string content;
  int permissions = 0;
};

std::map<std::string, Unpacked> unpack(const std::string& bytes) {
  std::map<std::string, Unpacked> files;
  struct archive* archive = archive_read_new();
  archive_read_support_format_zip_seekable(archive);  // reads the directory at the end, as Python's zipfile does
  EXPECT_EQ(archive_read_open_memory(archive, bytes.data(), bytes.size()), ARCHIVE_OK);
  struct archive_entry* entry = nullptr;
  while (archive_read_next_header(archive, &entry) == ARCHIVE_OK) {
    Unpacked file;
    file.permissions = static_cast<int>(archive_entry_perm(entry));
    file.content.resize(static_cast<std::size_t>(archive_entry_size(entry)));
    EXPECT_EQ(archive_read_data(archive, file.content.data(), file.content.size()),
              static_cast<la_ssize_t>(file.content.size()));
    files[archive_entry_pathname(entry)] = file;
  }
  archive_read_free(archive);
  return files;
}

class WorkingDirectory : public testing::Test {
 protected:
  void write(const std::string& name, std::string_view content) { write_file_atomic(folder_.path() / name, content); }
  TemporaryDirectory folder_;
};

TEST_F(WorkingDirectory, IsPackedWithPermissionsAndWithoutGit) {
  write("run.sh", "#!/bin/sh\n");
  fs::permissions(folder_.path() / "run.sh", fs::perms::owner_all);
  write("lib/a.txt", std::string(10'000, 'a'));
  write("empty", "");
  write(".git/config", "secret");
  write("sub/.git", "a submodule's");
  fs::create_symlink("lib/a.txt", folder_.path() / "link");
  fs::create_directory_symlink("..", folder_.path() / "lib" / "up");
  fs::create_symlink("nowhere", folder_.path() / "broken");
  const Package package = pack_working_directory(folder_.path(), {});
  const auto files = unpack(package.bytes);
  ASSERT_EQ(files.size(), 4u);
  EXPECT_EQ(package.num_files, 4u);
  EXPECT_EQ(files.at("run.sh").permissions, 0755);
  EXPECT_EQ(files.at("lib/a.txt").permissions, 0644);
  EXPECT_EQ(files.at("link").content, std::string(10'000, 'a'));
  EXPECT_EQ(files.at("empty").content, "");
  EXPECT_LT(package.bytes.size(), 2'000u);
}

TEST_F(WorkingDirectory, IsNamedByItsContent) {
  write("a", "1");
  write("b/c", "2");
  const Package first = pack_working_directory(folder_.path(), {});
  EXPECT_EQ(first.name.size(), std::string("_ray_pkg_").size() + 32 + 4);
  EXPECT_EQ(first.uri(), "gcs://" + first.name);
  fs::last_write_time(folder_.path() / "a", fs::file_time_type::clock::now() - std::chrono::hours(50));
  EXPECT_EQ(pack_working_directory(folder_.path(), {}).bytes, first.bytes);
  write("a", "3");
  EXPECT_NE(pack_working_directory(folder_.path(), {}).name, first.name);
}

TEST_F(WorkingDirectory, LeavesOutWhatPatternsName) {
  write("keep.txt", "1");
  write("build/x.o", "1");
  write("logs/a.log", "1");
  write("data/a.bin", "1");
  write("data/deep/b.bin", "1");
  write("b.bin", "1");
  const auto files = unpack(pack_working_directory(folder_.path(), {"build/", "*.log", "data/*.bin"}).bytes);
  EXPECT_EQ(files.size(), 3u);
  EXPECT_TRUE(files.contains("keep.txt"));
  EXPECT_TRUE(files.contains("data/deep/b.bin"));
  EXPECT_TRUE(files.contains("b.bin"));
  EXPECT_THROW(pack_working_directory(folder_.path(), {"*"}), Error);
}

TEST_F(WorkingDirectory, TooLargeNamesTheLargestFiles) {
  std::string noise(300'000, '\0');
  Random random(1);
  for (char& c : noise) c = static_cast<char>(random());
  write("noise.bin", noise);
  write("small", "1");
  try {
    pack_working_directory(folder_.path(), {}, 100'000);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::resource);
    EXPECT_NE(error.message().find("noise.bin (300 kB)"), std::string::npos) << error.message();
  }
  EXPECT_EQ(pack_working_directory(folder_.path(), {"noise.bin"}, 100'000).num_files, 1u);
}

TEST_F(WorkingDirectory, AsAnArchiveIsTakenAsItIs) {
  write("in/a", "1");
  const Package packed = pack_working_directory(folder_.path() / "in", {});
  write("a.zip", packed.bytes);
  EXPECT_EQ(pack_working_directory(folder_.path() / "a.zip", {}).name, packed.name);
}

TEST(PackWorkingDirectory, NamesAFolderThatIsMissing) {
  try {
    pack_working_directory("/nowhere/at/all", {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_NE(error.message().find("/nowhere/at/all"), std::string::npos);
  }
}

}  // namespace
}  // namespace mobula::jobs
