/// Folders packed for Ray: a zip archive named by its content, so that what the cluster has is not sent again.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace mobula::jobs {

/// What a cluster's dashboard takes in one request.
inline constexpr std::size_t kMaxPackageBytes = std::size_t{100} << 20;

struct Package {
  std::string name;   ///< _ray_pkg_HASH.zip
  std::string bytes;  ///< the archive
  std::size_t num_files = 0;

  /// Returns what a runtime environment names it by.
  std::string uri() const { return "gcs://" + name; }
};

/// Packs a folder, or takes a .zip file as it is. Left out: .git, and what matches a pattern of `exclude` with its whole
/// path below the folder or with one of that path's names (`build`, `*.log`, `data/*.bin`). Files keep their permissions,
/// links become what they point at. The same content gives the same bytes. Throws Error(not_found), and
/// Error(resource) with the largest files' names where the archive outgrows `max_bytes`.
Package pack_working_directory(const std::filesystem::path& path, const std::vector<std::string>& exclude,
                               std::size_t max_bytes = kMaxPackageBytes);

}  // namespace mobula::jobs
