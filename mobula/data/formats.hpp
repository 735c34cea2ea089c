/// The formats that datasets are read from and written to, by name.
#pragma once

#include <string>
#include <vector>

namespace mobula::data {

/// What a format's name stands for.
struct FormatInfo {
  std::string name;                     ///< in pipelines, on the command line
  std::vector<std::string> extensions;  ///< that tell it; in folders, the first that is there; empty: any file
  bool reads = true;
  bool writes = true;
  bool takes_types = false;   ///< columns have no types of their own: ReadOptions::types and infer_* count
  bool whole_folder = false;  ///< a folder is one dataset, with files of its own that tell what is in it
  bool compressed = false;    ///< files may be compressed as a whole, which a further extension tells: rows.jsonl.gz
};

/// Returns all formats.
const std::vector<FormatInfo>& formats();
/// Returns the names of those that can be read, or written.
std::vector<std::string> readable_formats();
std::vector<std::string> writable_formats();
/// Returns a format. Throws Error(invalid_argument) with the nearest name.
const FormatInfo& format_named(const std::string& name);
/// Returns the name of the format that a file's extension, or what lies in a folder, tells; empty where it tells nothing, or
/// files of several formats lie there.
std::string format_of_path(const std::string& path);

}  // namespace mobula::data
