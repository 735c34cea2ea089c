#include <fmt/format.h>
#include <glob.h>

#include <algorithm>
#include <filesystem>

#include "mobula/base/error.hpp"
#include "mobula/data/sources/read_options.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

bool hidden(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with('.') || name.starts_with('_');
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
  if (fs::is_directory(pattern, ignored)) return pattern;
  const std::size_t wildcard = pattern.find_first_of("*?[");
  if (wildcard == std::string::npos) return fs::path(pattern).parent_path().string();
  const std::size_t slash = pattern.rfind('/', wildcard);
  return slash == std::string::npos ? "." : pattern.substr(0, std::max<std::size_t>(slash, 1));
}

std::vector<std::string> expand_files(const std::vector<std::string>& patterns, const std::string& extension) {
  std::vector<std::string> files;
  for (const std::string& pattern : patterns) {
    std::error_code ignored;
    if (fs::is_directory(pattern, ignored)) {
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
                    "quote the pattern, and see data.path");
      }
    }
  }
  if (files.empty()) throw Error(ErrorCode::not_found, "no input files");
  return files;
}

}  // namespace mobula::data
