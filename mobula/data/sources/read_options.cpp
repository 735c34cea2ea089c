#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>
#include <glob.h>

#include <algorithm>
#include <filesystem>

#include "mobula/base/error.hpp"
#include "mobula/data/sources/read_options.hpp"
#include "mobula/data/storage/remote_path.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

bool hidden(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with('.') || name.starts_with('_');
}

/// Adds those of a remote folder's files that `keep` takes, apart from hidden ones.
template <class Keep>
void add_remote(const std::string& folder, Keep keep, std::vector<std::string>& files) {
  const std::size_t begin = folder.size() + (folder.ends_with('/') ? 0 : 1);
  for (std::string& file : files_below(folder)) {
    const fs::path below(file.size() > begin ? file.substr(begin) : "");
    if (!std::any_of(below.begin(), below.end(), hidden) && keep(file)) files.push_back(std::move(file));
  }
}

/// Expands a remote folder or pattern. Web servers have neither.
void expand_remote(const std::string& pattern, const std::string& extension, std::vector<std::string>& files) {
  const RemotePath parsed = parse_remote_path(pattern);
  const std::size_t wildcard = pattern.find_first_of("*?[", pattern.find("://") + 3);
  if (parsed.scheme.starts_with("http") || wildcard == std::string::npos) {
    const StoredInfo info = look_at(pattern);
    if (!info.exists) throw Error(ErrorCode::not_found, fmt::format("{}: no such file", pattern));
    if (!info.folder) {
      files.push_back(pattern);
      return;
    }
    const std::size_t before = files.size();
    add_remote(
        pattern, [&](const std::string& file) { return extension.empty() || file.ends_with(extension); }, files);
    if (files.size() == before)
      throw Error(ErrorCode::not_found, fmt::format("{}: no {} files in this folder", pattern, extension));
    return;
  }
  const std::size_t slash = pattern.rfind('/', wildcard);
  if (slash < pattern.find("://") + 3) throw_invalid(fmt::format("{}: the bucket's name can't be a pattern", pattern));
  const std::size_t before = files.size();
  const auto matches = [&pattern](const std::string& file) {
    return ::fnmatch(pattern.c_str(), file.c_str(), FNM_PATHNAME | FNM_PERIOD) == 0;
  };
  if (look_at(pattern.substr(0, slash)).folder) add_remote(pattern.substr(0, slash), matches, files);
  if (files.size() == before) throw Error(ErrorCode::not_found, fmt::format("{}: no file matches", pattern));
}

void add_folder(const fs::path& folder, const std::string& extension, std::vector<std::string>& files) {
  std::vector<std::string> found;
  for (auto entry = fs::recursive_directory_iterator(folder); entry != fs::recursive_directory_iterator(); ++entry) {
    if (hidden(entry->path())) {
      if (entry->is_directory()) entry.disable_recursion_pending();
      continue;
    }
    if (entry->is_regular_file() && (extension.empty() || entry->path().extension() == extension)) {
      found.push_back(entry->path().string());
    }
  }
  if (found.empty()) {
    throw Error(ErrorCode::not_found, fmt::format("{}: no {} files in this folder", folder.string(), extension));
  }
  std::sort(found.begin(), found.end());
  files.insert(files.end(), found.begin(), found.end());
}

}  // namespace

std::string base_folder(const std::string& pattern) {
  std::error_code ignored;
  if (is_remote(pattern) ? !pattern.starts_with("http") && look_at(pattern).folder : fs::is_directory(pattern, ignored))
    return pattern;
  const std::size_t wildcard = pattern.find_first_of("*?[");
  if (wildcard == std::string::npos) return fs::path(pattern).parent_path().string();
  const std::size_t slash = pattern.rfind('/', wildcard);
  return slash == std::string::npos ? "." : pattern.substr(0, std::max<std::size_t>(slash, 1));
}

std::vector<std::string> without_excluded(std::vector<std::string> files, const std::vector<std::string>& patterns) {
  if (patterns.empty()) return files;
  const auto excluded = [&patterns](const std::string& file) {
    const std::string name = fs::path(file).filename().string();
    return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
      const std::string folder = pattern.ends_with('/') ? pattern : pattern + '/';
      return ::fnmatch(pattern.c_str(), file.c_str(), 0) == 0 || ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0 ||
             file.starts_with(folder);
    });
  };
  const std::size_t before = files.size();
  std::erase_if(files, excluded);
  if (files.empty()) {
    throw Error(ErrorCode::not_found,
                fmt::format("exclude: all {} files are left out by {}", before, fmt::join(patterns, ", ")));
  }
  return files;
}

std::vector<std::string> expand_files(const std::vector<std::string>& patterns, const std::string& extension) {
  std::vector<std::string> files;
  for (const std::string& pattern : patterns) {
    std::error_code ignored;
    if (is_remote(pattern)) {
      expand_remote(pattern, extension, files);
    } else if (fs::is_directory(pattern, ignored)) {
      add_folder(pattern, extension, files);
    } else if (fs::exists(pattern, ignored) || pattern.find_first_of("*?[") == std::string::npos) {
      if (!fs::exists(pattern, ignored)) throw Error(ErrorCode::not_found, fmt::format("{}: no such file", pattern));
      files.push_back(pattern);
    } else {
      ::glob_t matches{};
      const int failure = ::glob(pattern.c_str(), GLOB_ERR, nullptr, &matches);
      if (failure == 0) files.insert(files.end(), matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
      ::globfree(&matches);
      if (failure != 0) {
        throw Error(ErrorCode::not_found, fmt::format("{}: no file matches", pattern),
                    "look at the folder, and quote the pattern so that the shell leaves it as it is");
      }
    }
  }
  if (files.empty()) throw Error(ErrorCode::not_found, "no input files");
  return files;
}

}  // namespace mobula::data
