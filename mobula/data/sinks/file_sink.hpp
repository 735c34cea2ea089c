/// Sinks that write one file or a folder of them. Internal to this layer: names Arrow's types.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mobula/data/engine/executor.hpp"
#include "mobula/data/sinks/write_options.hpp"

namespace mobula::data {

/// Writes all rows into one file of `format`, which appears when all is written.
std::unique_ptr<Sink> file_sink(std::string path, std::string format, WriteOptions options);
/// Writes files part-00000.EXT ... into a folder, which appears when all is written; with options.partition_by, below
/// folders key=value, and without those columns. Throws Error(already_exists) for a folder that holds something, unless
/// options.overwrite.
std::unique_ptr<Sink> folder_sink(std::string path, std::string format, WriteOptions options);
/// Writes one part of a folder's rows into files KEY=VALUE/part-NNNNN.EXT, which appear when all of it is written; lists
/// their names in the folder. `files` outlives the sink.
std::unique_ptr<Sink> partition_sink(std::string path, std::string format, WriteOptions options, std::int64_t part,
                                     std::vector<std::string>* files);
/// Writes a folder of MDS shards with their index.json (mosaicml-streaming), compressed by zstd where options.compression
/// says so; a shard ends at options.part_bytes.
std::unique_ptr<Sink> mds_sink(std::string path, WriteOptions options);

}  // namespace mobula::data
