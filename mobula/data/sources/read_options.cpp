#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>
#include <glob.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <span>

#include "mobula/base/error.hpp"
#include "mobula/data/sources/read_options.hpp"
#include "mobula/data/storage/compression.hpp"
#include "mobula/data/storage/remote_path.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

constexpr const char* kPatternHint = "look at the folder, and quote the pattern so that the shell leaves it as it is";

bool hidden(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with('.') || name.starts_with('_');
}

std::vector<std::string> parts_of(std::string_view path) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    parts.emplace_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

bool matches(std::span<const std::string> pattern, std::span<const std::string> path) {
  if (pattern.empty()) return path.empty();
  if (pattern.front() == "**") {
    if (matches(pattern.subspan(1), path)) return true;
    return !path.empty() && !hidden(path.front()) && matches(pattern, path.subspan(1));
  }
  return !path.empty() && ::fnmatch(pattern.front().c_str(), path.front().c_str(), FNM_PERIOD) == 0 &&
         matches(pattern.subspan(1), path.subspan(1));
}

/// The files that a folder stands for.
class FolderFiles {
 public:
  FolderFiles(const std::vector<std::string>& extensions, bool compressed)
      : extensions_(extensions), compressed_(compressed) {}

  /// Returns those of the first extension that is there, sorted.
  std::vector<std::string> choose(const std::string& folder, std::vector<std::string> found) const {
    std::sort(found.begin(), found.end());
    std::vector<std::string> chosen = extensions_.empty() ? found : std::vector<std::string>();
    for (std::size_t i = 0; chosen.empty() && i < extensions_.size(); ++i) {
      std::copy_if(found.begin(), found.end(), std::back_inserter(chosen), [&](const std::string& file) {
        return (compressed_ ? without_compression(file) : std::string_view(file)).ends_with(extensions_[i]);
      });
    }
    if (chosen.empty()) {
      throw Error(ErrorCode::not_found,
                  fmt::format("{}: no {} files in this folder", folder, fmt::join(extensions_, ", ")));
    }
    return chosen;
  }

 private:
  const std::vector<std::string>& extensions_;
  bool compressed_;
};

/// Lists a remote folder's files, apart from hidden ones.
std::vector<std::string> remote_files(const std::string& folder) {
  const std::size_t begin = folder.size() + (folder.ends_with('/') ? 0 : 1);
  std::vector<std::string> files;
  for (std::string& file : files_below(folder)) {
    const fs::path below(file.size() > begin ? file.substr(begin) : "");
    if (!std::any_of(below.begin(), below.end(), hidden)) files.push_back(std::move(file));
  }
  return files;
}

/// Lists a local folder's files, apart from hidden ones.
std::vector<std::string> local_files(const fs::path& folder) {
  std::vector<std::string> found;
  for (auto entry = fs::recursive_directory_iterator(folder); entry != fs::recursive_directory_iterator(); ++entry) {
    if (hidden(entry->path())) {
      if (entry->is_directory()) entry.disable_recursion_pending();
    } else if (entry->is_regular_file()) {
      found.push_back(entry->path().string());
    }
  }
  return found;
}

void append(std::vector<std::string> found, std::vector<std::string>& files) {
  files.insert(files.end(), std::make_move_iterator(found.begin()), std::make_move_iterator(found.end()));
}

/// Keeps the files that a pattern matches, sorted. Throws Error(not_found) where there is none.
std::vector<std::string> matching(const std::string& pattern, std::vector<std::string> found) {
  const std::vector<std::string> parts = parts_of(pattern);
  std::erase_if(found, [&](const std::string& file) { return !matches(parts, parts_of(file)); });
  if (found.empty()) throw Error(ErrorCode::not_found, fmt::format("{}: no file matches", pattern), kPatternHint);
  std::sort(found.begin(), found.end());
  return found;
}

/// Expands a remote folder or pattern. Web servers have neither.
void expand_remote(const std::string& pattern, const FolderFiles& wanted, std::vector<std::string>& files) {
  const RemotePath parsed = parse_remote_path(pattern);
  const std::size_t wildcard = pattern.find_first_of("*?[", pattern.find("://") + 3);
  if (parsed.scheme.starts_with("http") || wildcard == std::string::npos) {
    const StoredInfo info = look_at(pattern);
    if (!info.exists) throw Error(ErrorCode::not_found, fmt::format("{}: no such file", pattern));
    if (info.folder) {
      append(wanted.choose(pattern, remote_files(pattern)), files);
    } else {
      files.push_back(pattern);
    }
    return;
  }
  const std::size_t slash = pattern.rfind('/', wildcard);
  if (slash < pattern.find("://") + 3) throw_invalid(fmt::format("{}: the bucket's name can't be a pattern", pattern));
  const std::string folder = pattern.substr(0, slash);
  append(matching(pattern, look_at(folder).folder ? remote_files(folder) : std::vector<std::string>()), files);
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

std::vector<std::string> expand_files(const std::vector<std::string>& patterns,
                                      const std::vector<std::string>& extensions, bool compressed) {
  const FolderFiles wanted(extensions, compressed);
  std::vector<std::string> files;
  for (const std::string& pattern : patterns) {
    std::error_code ignored;
    if (is_remote(pattern)) {
      expand_remote(pattern, wanted, files);
    } else if (fs::is_directory(pattern, ignored)) {
      append(wanted.choose(pattern, local_files(pattern)), files);
    } else if (fs::exists(pattern, ignored) || pattern.find_first_of("*?[") == std::string::npos) {
      if (!fs::exists(pattern, ignored)) throw Error(ErrorCode::not_found, fmt::format("{}: no such file", pattern));
      files.push_back(pattern);
    } else if (pattern.find("**") != std::string::npos) {
      const std::string base = base_folder(pattern);
      const bool here = base == "." && !pattern.starts_with("./");
      std::vector<std::string> found = fs::is_directory(base, ignored) ? local_files(base) : std::vector<std::string>();
      if (here) {
        for (std::string& file : found) file.erase(0, 2);  // "./"
      }
      append(matching(pattern, std::move(found)), files);
    } else {
      ::glob_t found{};
      const int failure = ::glob(pattern.c_str(), GLOB_ERR, nullptr, &found);
      if (failure == 0) files.insert(files.end(), found.gl_pathv, found.gl_pathv + found.gl_pathc);
      ::globfree(&found);
      if (failure != 0) throw Error(ErrorCode::not_found, fmt::format("{}: no file matches", pattern), kPatternHint);
    }
  }
  if (files.empty()) throw Error(ErrorCode::not_found, "no input files");
  return files;
}

}  // namespace mobula::data
