/// The folder that the parts of a run lie in, and how it tells what is there. Internal to this layer.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/data/sinks/write_options.hpp"
#include "mobula/data/sources/source.hpp"

namespace mobula::data {

/// Files part-NNNNN of a run: _parts.json tells what they are of, _part-NNNNN.json that one is whole and which bad rows it left
/// out, _SUCCESS that all are there. Not thread-safe.
class PartFolder {
 public:
  /// Keeps other runs away from a folder of this machine. Throws Error(already_exists) where another one writes it.
  PartFolder(const std::string& path, Json identity);
  PartFolder(const PartFolder&) = delete;
  PartFolder& operator=(const PartFolder&) = delete;
  ~PartFolder();

  /// Looks at what is there: parts of the same run stay, what is left of unfinished ones goes. `key` and `value` tell what the
  /// run is of, besides its identity. Throws Error(invalid_argument) where the folder holds parts of something else.
  void settle(const char* key, std::uint64_t value);

  /// Tells whether all parts are there.
  bool finished() const { return finished_; }
  /// Returns the marks of the parts that are whole: {"rows", "files", "manifest", "skipped", "bad"}.
  const std::map<std::int64_t, Json>& done() const { return done_; }
  /// Returns the bad rows of what ran before the parts (`before`, or those of the run that finished), then of the parts.
  std::vector<std::string> bad_rows(std::vector<std::string> before) const;
  std::string place(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

  /// Notes that a part is whole.
  void note(std::int64_t part, Json mark);
  /// Notes that no part comes behind the last one, and that all is there; `whole` and `bad` are the manifest and the bad rows
  /// of what ran before the parts.
  void finish(const Json& whole, const std::vector<std::string>& bad, std::int64_t skipped);
  /// Removes what a part that failed has left.
  void remove_files(std::int64_t part) const;
  /// Removes what parts that were begun and not noted have left. None is being made.
  void remove_unfinished() const;

 private:
  class Lock;

  /// Writes what the parts are of, or makes sure that those which are there are of the same.
  void settle_identity(const std::set<std::string>& present);
  /// Returns the names of the files in the folder.
  std::set<std::string> names() const;
  void remove_unnoted(const std::set<std::string>& present) const;

  std::string path_;
  Json identity_;
  std::unique_ptr<Lock> lock_;
  std::map<std::int64_t, Json> done_;  ///< marks of the parts that are whole
  bool finished_ = false;
};

/// Returns what the parts of a run are of: {"source", "files": [[file, bytes, version]], "contents", "part_rows", "format", "of"}.
/// Rows that no file holds are read, to be known by their digest.
Json identity_of_parts(const std::vector<std::unique_ptr<Source>>& sources, const std::string& format,
                       const WriteOptions& write);

/// Throws where parts of such a kind are not made.
void check_part_options(const std::string& path, const std::string& format, const WriteOptions& write);

/// Adds the figures (RunResult::statistics) of a further part: its stretches are the same.
void add_statistics(Json& sum, const Json& part);

}  // namespace mobula::data
