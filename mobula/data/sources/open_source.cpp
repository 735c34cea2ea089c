#include "mobula/data/sources/open_source.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/formats.hpp"

namespace mobula::data {

std::unique_ptr<Source> open_source(const std::string& format, const std::vector<std::string>& paths,
                                    const ReadOptions& options) {
  const FormatInfo& info = format_named(format);
  if (format == "images") return open_images(paths, options);
  if (format == "hf") return open_hf(paths, options);
  if (format == "mds") return open_mds(paths, options);
  if (format == "delta") return open_delta(paths, options);
  auto files = expand_files(paths, info.extensions.empty() ? "" : info.extensions.front());
  if (format == "csv") return open_csv(std::move(files), options);
  if (format == "jsonl") return open_jsonl(std::move(files), options);
  if (format == "text") return open_text(std::move(files), options);
  if (format == "parquet") return open_parquet(std::move(files), options);
  if (format == "binary") return open_binary(std::move(files), options);
  if (format == "tar") return open_tar(std::move(files), options);
  if (format == "sqlite") return open_sqlite(std::move(files), options);
  return open_ipc(std::move(files), options);
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
