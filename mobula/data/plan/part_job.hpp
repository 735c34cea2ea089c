/// What a worker that makes parts must know, as it travels. Internal to this layer.
#pragma once

#include <arrow/type_fwd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/data/dataset.hpp"
#include "mobula/data/plan/row_ranges.hpp"

namespace mobula::data {

/// Names of columns with their types.
using ColumnTypes = std::vector<std::pair<std::string, std::string>>;
ColumnTypes column_types(const arrow::Schema& schema);
/// Returns the first column in which two lists differ, such as "column 'x' is int64 there, and string here"; empty where they
/// are the same.
std::string difference_of(const ColumnTypes& there, const ColumnTypes& here);

/// A file as the run found it.
struct PartFile {
  std::string path;
  std::uint64_t bytes = 0;
  std::string version;  ///< StoredInfo::version
};

/// What all parts of a run have in common.
struct PartJob {
  std::string directory;  ///< that the program runs in
  std::string folder;     ///< of the parts, absolute
  std::string format;
  WriteOptions write;
  RunOptions run;                          ///< without what only the program can do: watch, manifest, dead letters
  std::vector<PartFile> files;             ///< of the source, in its order
  std::shared_ptr<arrow::Schema> columns;  ///< of the source

  Json to_json() const;
  static PartJob from_json(const Json& json);
};

/// A part that is to be made.
struct PartTask {
  std::int64_t part = 0;
  std::int64_t begin = 0;  ///< its rows are those of the source from `begin` to `end`
  std::int64_t end = 0;
  PieceRun pieces;                  ///< they lie in; PiecePlace::file is an index into PartJob::files
  std::int64_t skipped_before = 0;  ///< bad rows of other parts that are known of

  Json to_json() const;
  static PartTask from_json(const Json& json);
};

}  // namespace mobula::data
