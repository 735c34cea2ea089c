/// Files below folders key=value: the keys become columns. Internal to this layer: names Arrow's types.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mobula/data/sources/source.hpp"

namespace mobula::data {

/// A file and what its folders say. A value is nothing where the folder says __HIVE_DEFAULT_PARTITION__.
struct PartitionedFile {
  std::string file;
  std::vector<std::pair<std::string, std::optional<std::string>>> values;
};

/// Reads the keys and values in the folders of `file` below `base` (`%XX` is a byte).
PartitionedFile parse_partitions(const std::string& file, const std::string& base);
/// Tells whether the files have keys, all of them the same ones. Throws Error(invalid_argument) where some have others.
bool are_partitioned(const std::vector<PartitionedFile>& files);

/// Reads files through `open` and adds the keys' columns (int64 where all values are whole numbers, else string) behind
/// theirs. Files whose values can't meet a pushed filter are not opened. `columns`: those that come out; empty: all.
std::unique_ptr<Source> open_partitioned(
    std::vector<PartitionedFile> files, std::vector<std::string> columns,
    std::function<std::unique_ptr<Source>(std::vector<std::string>, std::vector<std::string>)> open);

}  // namespace mobula::data
