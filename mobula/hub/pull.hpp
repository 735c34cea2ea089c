/// Downloads a repository of models from a hub that speaks Hugging Face's protocol.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "mobula/hub/cache.hpp"

namespace mobula::hub {

struct PullOptions {
  std::string endpoint;              ///< such as "https://huggingface.co"
  std::string token;                 ///< empty: none
  std::filesystem::path cache;       ///< see cache_root()
  std::vector<std::string> include;  ///< patterns of file names (* ? [...]); empty: all
  std::vector<std::string> exclude;
  /// Told how many bytes of how many are there, and which file is being read; may throw to stop.
  std::function<void(std::uint64_t done, std::uint64_t total, const std::string& file)> on_progress;
};

/// Reads $HF_ENDPOINT (default https://huggingface.co), the token ($HF_TOKEN, else $HUGGING_FACE_HUB_TOKEN, else the file
/// that huggingface_hub logs in with) and the cache's place.
PullOptions default_pull_options();

struct PullResult {
  std::string commit;
  std::filesystem::path path;  ///< the snapshot's folder
  std::size_t num_files = 0;
  std::uint64_t bytes = 0;       ///< of all files
  std::uint64_t downloaded = 0;  ///< of them, over the network in this call
};

/// Brings the repository's files into the cache; what is there already is kept, and what was cut off goes on where it
/// stopped. Every file is held to its checksum. Throws Error(not_found) for an unknown repository or revision,
/// Error(unavailable) where a token is missing or the hub fails, Error(corrupt) for content that differs from its checksum
/// and for names that lead out of the folder.
PullResult pull(const RepoName& repo, const PullOptions& options);

}  // namespace mobula::hub
