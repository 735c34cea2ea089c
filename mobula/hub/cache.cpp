#include "mobula/hub/cache.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/nearest.hpp"

namespace mobula::hub {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "models--";
constexpr std::size_t kMaxName = 96, kMaxRevision = 256;

// Returns the variable's value, or nothing where it is unset or empty.
std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

bool is_name(std::string_view part) {
  const auto fine = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.'; };
  return !part.empty() && part.size() <= kMaxName && std::ranges::all_of(part, fine) && part.front() != '.' &&
         part.front() != '-' && part.find("..") == std::string_view::npos && part.find("--") == std::string_view::npos;
}

bool is_revision(std::string_view text) {
  const auto fine = [](unsigned char c) {
    return c > ' ' && c < 0x7f && c != '\\' && c != '?' && c != '#' && c != '%';
  };
  return !text.empty() && text.size() <= kMaxRevision && std::ranges::all_of(text, fine) && text.front() != '/' &&
         text.back() != '/' && text.find("..") == std::string_view::npos && text.find("//") == std::string_view::npos;
}

std::uint64_t bytes_below(const fs::path& folder) {
  std::uint64_t total = 0;
  std::error_code ignored;
  for (const auto& entry : fs::recursive_directory_iterator(folder, ignored)) {
    if (entry.is_regular_file(ignored) && !entry.is_symlink(ignored)) total += entry.file_size(ignored);
  }
  return total;
}

}  // namespace

RepoName parse_repo(std::string_view text) {
  RepoName repo;
  const auto at = text.find('@');
  std::string_view id = text.substr(0, at);
  if (at != std::string_view::npos) repo.revision = text.substr(at + 1);
  repo.id = id;
  const auto slash = id.find('/');
  const bool good =
      slash == std::string_view::npos ? is_name(id) : is_name(id.substr(0, slash)) && is_name(id.substr(slash + 1));
  if (!good || !is_revision(repo.revision)) {
    throw_invalid(fmt::format("'{}' names no repository", text.substr(0, 200)), "write ORG/NAME or ORG/NAME@REVISION");
  }
  return repo;
}

fs::path cache_root() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string cache = variable(name); !cache.empty()) return cache;
  }
  if (const std::string home = variable("HF_HOME"); !home.empty()) return fs::path(home) / "hub";
  if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty()) return fs::path(cache) / "huggingface/hub";
  const std::string home = variable("HOME");
  if (home.empty()) throw_invalid("neither HF_HOME nor HOME is set", "set HF_HOME to a folder for downloads");
  return fs::path(home) / ".cache/huggingface/hub";
}

fs::path repo_folder(const fs::path& root, const RepoName& repo) {
  std::string name(kPrefix);
  for (const char c : repo.id) name += c == '/' ? std::string("--") : std::string(1, c);
  return root / name;
}

std::vector<CachedRevision> list_cache(const fs::path& root) {
  std::vector<CachedRevision> all;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(root, ignored)) {
    std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix) || !entry.is_directory(ignored)) continue;
    name.erase(0, kPrefix.size());
    if (const auto dashes = name.find("--"); dashes != std::string::npos) name.replace(dashes, 2, "/");
    for (const auto& snapshot : fs::directory_iterator(entry.path() / "snapshots", ignored)) {
      CachedRevision revision{.repo = name, .commit = snapshot.path().filename().string(), .path = snapshot.path()};
      for (const auto& file : fs::recursive_directory_iterator(snapshot.path(), ignored)) {
        if (!file.is_regular_file(ignored)) continue;  // follows the link: one that leads nowhere counts as no file
        ++revision.num_files;
        revision.bytes += fs::file_size(file.path(), ignored);
      }
      const fs::path refs = entry.path() / "refs";
      for (const auto& ref : fs::recursive_directory_iterator(refs, ignored)) {
        if (!ref.is_regular_file(ignored) || ref.file_size(ignored) > 4096) continue;
        if (read_file(ref.path()) == revision.commit)
          revision.refs.push_back(ref.path().lexically_relative(refs).string());
      }
      std::ranges::sort(revision.refs);
      all.push_back(std::move(revision));
    }
  }
  std::ranges::sort(all, {}, [](const CachedRevision& r) { return std::pair(r.repo, r.commit); });
  return all;
}

std::uint64_t remove_repo(const fs::path& root, const RepoName& repo) {
  const fs::path folder = repo_folder(root, repo);
  if (!fs::is_directory(folder)) {
    std::vector<std::string> known;
    for (const CachedRevision& revision : list_cache(root)) known.push_back(revision.repo);
    throw Error(ErrorCode::not_found, fmt::format("{} is not in {}", repo.id, root.string()), suggest(repo.id, known));
  }
  const std::uint64_t bytes = bytes_below(folder);
  fs::remove_all(folder);
  fs::remove_all(root / ".locks" / folder.filename());
  return bytes;
}

}  // namespace mobula::hub
