#include "mobula/data/sources/open_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/formats.hpp"
#include "mobula/data/sources/partitioned_source.hpp"

namespace mobula::data {

namespace {

/// Opens files of rows, all of one format.
std::unique_ptr<Source> open_files(const std::string& format, std::vector<std::string> files,
                                   const ReadOptions& options, bool skips_bad_rows) {
  if (format == "csv") return open_csv(std::move(files), options, skips_bad_rows);
  if (format == "jsonl") return open_jsonl(std::move(files), options, skips_bad_rows);
  if (format == "text") return open_text(std::move(files), options, skips_bad_rows);
  if (format == "parquet") return open_parquet(std::move(files), options);
  return open_ipc(std::move(files), options);
}

}  // namespace

std::unique_ptr<Source> open_source(const std::string& format, const std::vector<std::string>& paths,
                                    const ReadOptions& options, bool skips_bad_rows) {
  const FormatInfo& info = format_named(format);
  if (!options.exclude.empty() && (format == "images" || format == "hf" || format == "mds" || format == "delta")) {
    throw Error(ErrorCode::unsupported, fmt::format("exclude: the files of {} can't be left out one by one", format),
                "name the folders that are to be read");
  }
  if (format == "images") return open_images(paths, options);
  if (format == "hf") return open_hf(paths, options);
  if (format == "mds") return open_mds(paths, options);
  if (format == "delta") return open_delta(paths, options);
  if (format == "database") return open_database(paths, options);
  std::vector<std::string> files;
  std::vector<PartitionedFile> partitions;
  std::vector<std::string> bases;
  for (const std::string& path : paths) {
    for (std::string& file : expand_files({path}, info.extensions, info.compressed)) {
      bases.push_back(base_folder(path));
      files.push_back(std::move(file));
    }
  }
  const std::vector<std::string> all = files;
  files = without_excluded(std::move(files), options.exclude);
  for (std::size_t i = 0, kept = 0; kept < files.size(); ++i) {
    if (all[i] != files[kept]) continue;
    partitions.push_back(parse_partitions(files[kept], bases[i]));
    ++kept;
  }
  if (format == "binary") return open_binary(std::move(files), options);
  if (format == "tar") return open_tar(std::move(files), options);
  if (format == "sqlite") return open_sqlite(std::move(files), options);
  if (!options.hive || !are_partitioned(partitions))
    return open_files(format, std::move(files), options, skips_bad_rows);
  return open_partitioned(
      std::move(partitions), options.columns,
      [format, options, skips_bad_rows](std::vector<std::string> names, std::vector<std::string> columns) {
        ReadOptions own = options;
        own.columns = std::move(columns);
        return open_files(format, std::move(names), own, skips_bad_rows);
      });
}

std::vector<int> pick_columns(const std::vector<std::string>& names, const ReadOptions& options,
                              const std::string& file) {
  std::vector<int> picked;
  for (const std::string& column : options.columns) {
    const auto found = std::find(names.begin(), names.end(), column);
    if (found == names.end()) {
      throw Error(ErrorCode::not_found, fmt::format("{}: no column '{}'", file, column), suggest(column, names));
    }
    picked.push_back(static_cast<int>(found - names.begin()));
  }
  if (options.columns.empty()) {
    for (int i = 0; i < static_cast<int>(names.size()); ++i) picked.push_back(i);
  }
  return picked;
}

}  // namespace mobula::data
