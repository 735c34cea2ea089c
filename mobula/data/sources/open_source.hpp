/// Opens sources by format. Internal to this layer: names Arrow's types.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mobula/data/sources/read_options.hpp"
#include "mobula/data/sources/source.hpp"

namespace mobula::data {

/// CSV files with a header each, of the same columns. A file of 0 bytes is an error.
std::unique_ptr<Source> open_csv(std::vector<std::string> files, ReadOptions options);
/// Files of one JSON object a line.
std::unique_ptr<Source> open_jsonl(std::vector<std::string> files, ReadOptions options);
/// Files of lines that end at \n, as a column "text".
std::unique_ptr<Source> open_text(std::vector<std::string> files, ReadOptions options);
/// Parquet files of one schema; nothing but the columns asked for is read.
std::unique_ptr<Source> open_parquet(std::vector<std::string> files, ReadOptions options);
/// Arrow IPC files (or streams) of one schema.
std::unique_ptr<Source> open_ipc(std::vector<std::string> files, ReadOptions options);
/// The whole numbers from 0 to `rows`, as a column "id".
std::unique_ptr<Source> open_range(std::int64_t rows, std::int64_t rows_per_block = 1 << 17);
/// Blocks in memory, all of `schema`.
std::unique_ptr<Source> open_blocks(std::shared_ptr<arrow::Schema> schema, std::vector<Block> blocks);

/// Returns the positions of options.columns in `names`, or of all. Throws Error(not_found) with the nearest name.
std::vector<int> pick_columns(const std::vector<std::string>& names, const ReadOptions& options,
                              const std::string& file);

}  // namespace mobula::data
