/// How columns become files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mobula::data {

struct WriteOptions {
  /// Parquet: snappy (the default), none, zstd, gzip, lz4, brotli; IPC: none, zstd, lz4; MDS: none, zstd. CSV, JSONL, text and
  /// tar are compressed as whole files: none, gzip, bz2, xz, zstd, by default as the file's name says (rows.jsonl.gz).
  std::string compression;
  std::int64_t row_group_rows = 1 << 18;  ///< rows of a Parquet row group
  std::int64_t part_bytes = std::int64_t{256}
                            << 20;  ///< a folder's next file is begun past this size (before compression)
  char delimiter = ',';             ///< of CSV
  bool nan_as_null = false;         ///< JSONL: writes NaN and infinities as null instead of refusing them
  bool durable = false;             ///< waits until the bytes are on the disk, not only in the system's hands
  bool overwrite = false;           ///< replaces an output folder that exists
  /// A folder: each `part_rows` rows of the source become a file of their own, which appears when it is whole, and a run
  /// that finds such files goes on behind them. Behind steps that need other rows before they give one (sort, limit, join ...)
  /// the rows are those that come out of the last of them; what stands before it runs again.
  bool resume = false;
  std::int64_t part_rows = 1 << 16;       ///< resume: rows a part is made of
  std::string resume_key;                 ///< resume: what else must be as it was, such as the steps' text
  std::vector<std::string> partition_by;  ///< folders key=value below the output folder, in Hive's manner
};

}  // namespace mobula::data
