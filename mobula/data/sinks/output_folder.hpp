/// A folder that is written as a whole. Internal to this layer.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace mobula::data {

/// On this machine the folder appears when all is written. In an object store, which can't rename folders, each file appears
/// as it is whole, the empty file _SUCCESS comes last, and a run that fails removes what it wrote. Not thread-safe.
class OutputFolder {
 public:
  /// Throws Error(already_exists) for a folder that holds something, unless `overwrite`, and for a file.
  OutputFolder(std::string path, bool overwrite);
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  /// Leaves nothing unless commit() succeeded.
  ~OutputFolder();

  /// Returns where to write a file of the folder; `name` may hold folders.
  std::string place(const std::string& name);
  /// Returns what file names must end in (before their extension) so that they don't meet those which are replaced.
  const std::string& tag() const { return tag_; }
  /// Lets the folder appear, and removes what was there before.
  void commit();

 private:
  std::string path_;  ///< without a slash at its end
  bool remote_;
  std::filesystem::path temporary_;    ///< local: what becomes the folder
  std::vector<std::string> replaced_;  ///< remote: files of before
  std::vector<std::string> written_;   ///< remote: those of this run
  std::string tag_;
};

}  // namespace mobula::data
