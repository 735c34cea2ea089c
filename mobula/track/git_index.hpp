/// Git's index file, as described in gitformat-index(5): versions 2, 3 and 4.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mobula::track {

/// A tracked file and what git remembered of it.
struct GitIndexEntry {
  std::string path;  ///< below the working tree
  std::uint32_t mode = 0;
  std::uint32_t bytes = 0;  ///< of the file, modulo 2^32
  std::uint32_t modified_seconds = 0;
  std::uint32_t modified_nanoseconds = 0;
  std::string object_id;  ///< 20 raw bytes
  bool unmerged = false;
  bool assume_unchanged = false;  ///< also skip-worktree: the file may be absent
};

struct GitIndex {
  std::vector<GitIndexEntry> entries;
  /// True where the cached tree says that the whole index has been written as a tree: nothing was staged
  /// since the last commit, checkout or reset. Nothing where the index has no cached tree.
  std::optional<bool> tree_is_current;
};

/// Parses the bytes of an index of SHA-1 objects. Returns nothing for other kinds and for damaged ones.
std::optional<GitIndex> parse_git_index(std::string_view bytes);

/// Tells whether a file of the working tree differs from its entry: by its time and size, else by its
/// content's SHA-1. `index_time` is the index file's own time: a file as new as that is read even if its time
/// looks unchanged.
bool differs_from_index(const GitIndexEntry& entry, const std::filesystem::path& work_tree,
                        std::filesystem::file_time_type index_time);

}  // namespace mobula::track
