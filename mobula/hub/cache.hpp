/// The folder in which huggingface_hub and Mobula keep what was downloaded:
/// models--ORG--NAME/{refs/REVISION, blobs/ETAG, snapshots/COMMIT/FILE -> blobs}.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace mobula::hub {

/// A repository and the revision that is wanted.
struct RepoName {
  std::string id;                 ///< "ORG/NAME" or "NAME"
  std::string revision = "main";  ///< branch, tag or commit
};

/// Parses "ORG/NAME@REVISION". Throws Error(invalid_argument) for names that no hub has: empty parts, "..", odd characters.
RepoName parse_repo(std::string_view text);

/// Returns $HF_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub.
std::filesystem::path cache_root();

/// Returns the repository's folder below `root`.
std::filesystem::path repo_folder(const std::filesystem::path& root, const RepoName& repo);

/// One commit of a repository that is in the cache.
struct CachedRevision {
  std::string repo, commit;
  std::vector<std::string> refs;  ///< branches and tags that point to it
  std::filesystem::path path;
  std::size_t num_files = 0;
  std::uint64_t bytes = 0;
};

/// Lists what is in the cache, by name; folders that aren't understood are left out.
std::vector<CachedRevision> list_cache(const std::filesystem::path& root);

/// Removes a repository; returns the bytes that became free. Throws Error(not_found).
std::uint64_t remove_repo(const std::filesystem::path& root, const RepoName& repo);

}  // namespace mobula::hub
