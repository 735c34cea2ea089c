/// Which code a run used: the commit of the git checkout around a folder, and whether files differ from it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace mobula::track {

/// The state of a checkout.
struct CodeVersion {
  std::string commit;         ///< 40 or 64 hexadecimal digits; empty outside a checkout or before its first commit
  std::optional<bool> dirty;  ///< tracked files differ from the commit; nothing where that could not be told

  /// Returns "1a2b3c4d5e6f+dirty mobula 0.1.0": twelve digits, "+dirty" or "+unknown", and Mobula's version.
  std::string to_string() const;
};

/// Reads git's own files (HEAD, refs, index; linked worktrees too) around `directory`. Runs the git program
/// only where the index doesn't say whether changes are staged. Never throws: what can't be read is left
/// empty. Untracked files don't count as changes.
CodeVersion read_code_version(const std::filesystem::path& directory);

}  // namespace mobula::track
