#include "mobula/track/code_version.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/version.hpp"
#include "mobula/track/git_index.hpp"

namespace mobula::track {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMaxRefBytes = 1 << 20;
constexpr std::size_t kMaxPackedRefsBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxIndexBytes = std::size_t{256} << 20;

struct Checkout {
  fs::path work_tree;
  fs::path git_folder;     // HEAD and index
  fs::path common_folder;  // refs; differs from git_folder in a linked worktree
};

std::string read_trimmed(const fs::path& file) {
  std::string text = read_file(file, kMaxRefBytes);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  return text;
}

std::optional<Checkout> find_checkout(fs::path folder) {
  folder = fs::absolute(folder).lexically_normal();
  while (true) {
    const fs::path dot_git = folder / ".git";
    if (fs::is_directory(dot_git)) return Checkout{folder, dot_git, dot_git};
    if (fs::is_regular_file(dot_git)) {
      const std::string text = read_trimmed(dot_git);
      if (!text.starts_with("gitdir: ")) return std::nullopt;
      const fs::path git_folder = folder / text.substr(8);
      const fs::path common = git_folder / "commondir";
      return Checkout{folder, git_folder, fs::exists(common) ? git_folder / read_trimmed(common) : git_folder};
    }
    if (!folder.has_parent_path() || folder.parent_path() == folder) return std::nullopt;
    folder = folder.parent_path();
  }
}

bool is_object_id(std::string_view text) {
  return (text.size() == 40 || text.size() == 64) &&
         std::all_of(text.begin(), text.end(), [](unsigned char digit) { return std::isxdigit(digit) != 0; });
}

std::string find_packed_ref(const fs::path& file, std::string_view name) {
  if (!fs::exists(file)) return {};
  const std::string text = read_file(file, kMaxPackedRefsBytes);
  const std::size_t found = text.find(fmt::format(" {}\n", name));
  if (found == std::string::npos) return {};
  const std::size_t line = text.rfind('\n', found);
  const std::size_t start = line == std::string::npos ? 0 : line + 1;
  return text.substr(start, found - start);
}

std::string read_commit(const Checkout& checkout) {
  std::string value = read_trimmed(checkout.git_folder / "HEAD");
  for (int hops = 0; hops < 5 && value.starts_with("ref: "); ++hops) {
    const std::string name = value.substr(5);
    if (name.find("..") != std::string::npos) return {};
    fs::path loose = checkout.git_folder / name;
    if (!fs::exists(loose)) loose = checkout.common_folder / name;
    value = fs::exists(loose) ? read_trimmed(loose) : find_packed_ref(checkout.common_folder / "packed-refs", name);
  }
  return is_object_id(value) ? value : std::string();
}

// Asks the git program whether tracked files differ from HEAD. Nothing where it is not installed or fails.
std::optional<bool> ask_git(const fs::path& work_tree) {
  const std::string folder = work_tree.string();
  const char* arguments[] = {"git",  "-C",      folder.c_str(),  "--no-optional-locks",
                             "diff", "--quiet", "--no-ext-diff", "--ignore-submodules",
                             "HEAD", "--",      nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    ::posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0);
  }
  pid_t child = 0;
  const int failure = ::posix_spawnp(&child, "git", &actions, nullptr, const_cast<char**>(arguments), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) return std::nullopt;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return std::nullopt;
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) > 1) return std::nullopt;
  return WEXITSTATUS(status) == 1;
}

std::optional<bool> is_dirty(const Checkout& checkout) {
  const fs::path file = checkout.git_folder / "index";
  const auto index_time = fs::last_write_time(file);
  const std::optional<GitIndex> index = parse_git_index(read_file(file, kMaxIndexBytes));
  if (!index) return ask_git(checkout.work_tree);
  for (const GitIndexEntry& entry : index->entries) {
    if (differs_from_index(entry, checkout.work_tree, index_time)) return true;
  }
  if (index->tree_is_current == true) return false;
  return ask_git(checkout.work_tree);
}

}  // namespace

std::string CodeVersion::to_string() const {
  if (commit.empty()) return fmt::format("mobula {}", version());
  return fmt::format("{}{} mobula {}", commit.substr(0, 12), dirty ? (*dirty ? "+dirty" : "") : "+unknown", version());
}

CodeVersion read_code_version(const fs::path& directory) {
  CodeVersion result;
  try {
    const std::optional<Checkout> checkout = find_checkout(directory);
    if (!checkout) return result;
    result.commit = read_commit(*checkout);
    if (!result.commit.empty()) result.dirty = is_dirty(*checkout);
  } catch (const std::exception&) {
    // A checkout being changed at this moment, or one we may not read: the run matters more than its label.
  }
  return result;
}

}  // namespace mobula::track
