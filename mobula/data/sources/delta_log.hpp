/// The transaction log of a Delta Lake table, replayed. Internal to this layer: names Arrow's types.
///
/// Follows the Delta Transaction Log Protocol (github.com/delta-io/delta, PROTOCOL.md): checkpoints in Parquet, commits in
/// JSON lines after them.
#pragma once

#include <arrow/type_fwd.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"

namespace mobula::data {

struct DeltaFile {
  std::string path;                                                    ///< as it can be opened
  std::map<std::string, std::optional<std::string>> partition_values;  ///< by the columns' physical names
};

struct DeltaColumn {
  std::string name;
  std::string physical_name;  ///< in Parquet files; the name itself without column mapping
  std::shared_ptr<arrow::DataType> type;
  bool partition = false;
};

/// A table as it was at one version.
struct DeltaTable {
  std::int64_t version = 0;
  std::vector<DeltaColumn> columns;
  std::vector<DeltaFile> files;  ///< in the order in which they were added
};

/// Replays the log of a table's folder up to `version` (-1: the newest). Throws Error(not_found) for a folder without a
/// log or a version that isn't there, Error(corrupt) for damage, naming file and line, and Error(unsupported) for a table
/// whose readers need what we lack, naming it (deletion vectors that are in use, checkpoints of the second kind).
DeltaTable replay_delta_log(const std::string& folder, std::int64_t version);

}  // namespace mobula::data
