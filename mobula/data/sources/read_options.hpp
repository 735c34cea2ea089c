/// How files become columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace mobula::data {

struct ReadOptions {
  /// Fixes columns' types by name (see type_of_name); the others are inferred in CSV and JSONL.
  std::map<std::string, std::string> types;
  /// Infers types over all rows instead of the first `infer_bytes` of them; the input is then read twice.
  bool infer_all = false;
  std::size_t infer_bytes = std::size_t{1} << 20;
  /// Columns to read, in this order; empty: all.
  std::vector<std::string> columns;
  /// Text read at a time by each thread (CSV, JSONL, text), and decoded bytes aimed at elsewhere.
  std::size_t piece_bytes = std::size_t{2} << 20;
  char delimiter = ',';
  std::string query;   ///< SQLite, databases: a table's name or a SELECT statement; SQLite, empty: the only table
  std::string driver;  ///< databases: the ADBC driver's name or its library's path; empty: by the address
  std::map<std::string, std::string> driver_options;  ///< databases: what the driver takes besides the address
  std::string split;                                  ///< HF datasets: which part of a DatasetDict
  std::int64_t version = -1;                          ///< Delta Lake: the table's version; -1: the newest
  /// Files that are left out: patterns of a path or of a file's name, or folders. Not for images, HF datasets, MDS, Delta.
  std::vector<std::string> exclude;
  bool hive = true;  ///< reads folders key=value below a folder or a pattern as columns
};

/// Returns the folder below which a path's or a pattern's files lie: itself, or what stands before the first wildcard.
std::string base_folder(const std::string& pattern);

/// Returns the files that no pattern matches. Throws Error(not_found) where none is left.
std::vector<std::string> without_excluded(std::vector<std::string> files, const std::vector<std::string>& patterns);

/// Returns the files that a path, a folder or a glob pattern (of which ** stands for any folders) stands for, sorted by name. A
/// folder stands for the files in it and below that have the first of `extensions` (such as ".csv"; none: any) that a file
/// there has, and don't start with '.' or '_'. `compressed`: with a further extension such as ".gz", too. Throws
/// Error(not_found).
std::vector<std::string> expand_files(const std::vector<std::string>& patterns,
                                      const std::vector<std::string>& extensions, bool compressed = false);

}  // namespace mobula::data
