#include <fmt/format.h>

#include <filesystem>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/sources/open_source.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMaxJsonBytes = std::size_t{64} << 20;

/// Returns the folder of one split: the folder itself, or the part of a DatasetDict that is asked for.
fs::path split_folder(const fs::path& folder, const std::string& split) {
  const fs::path file = folder / "dataset_dict.json";
  if (!look_at(file.string()).exists) {
    if (split.empty()) return folder;
    throw_invalid(fmt::format("{}: holds one dataset, no splits", folder.string()), "leave the split out");
  }
  const Json document = parse_json(read_stored(file.string(), kMaxJsonBytes), file.string());
  std::vector<std::string> splits;
  if (document.is_object() && document.contains("splits") && document["splits"].is_array()) {
    for (const Json& name : document["splits"]) {
      if (name.is_string()) splits.push_back(name.get<std::string>());
    }
  }
  if (splits.empty()) throw Error(ErrorCode::corrupt, fmt::format("{}: names no splits", file.string()));
  if (split.empty()) {
    throw_invalid(fmt::format("{}: holds several splits, and none is named", folder.string()),
                  fmt::format("name one of {} (split: {})", fmt::join(splits, ", "), splits.front()));
  }
  if (std::find(splits.begin(), splits.end(), split) == splits.end()) {
    throw Error(ErrorCode::not_found, fmt::format("{}: no split '{}'", folder.string(), split), suggest(split, splits));
  }
  return folder / split;
}

/// Adds the Arrow files of a folder, in the order of its state.json.
void add_files(const fs::path& folder, std::vector<std::string>& files) {
  const fs::path file = folder / "state.json";
  if (!look_at(file.string()).exists) {
    throw Error(ErrorCode::not_found, fmt::format("{}: no such file", file.string()),
                "a folder that datasets' save_to_disk wrote is expected");
  }
  const Json state = parse_json(read_stored(file.string(), kMaxJsonBytes), file.string());
  if (!state.is_object() || !state.contains("_data_files") || !state["_data_files"].is_array()) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: no list _data_files", file.string()));
  }
  if (const auto found = state.find("_indices_data_files"); found != state.end() && !found->empty()) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: rows are picked by an indices mapping", file.string()),
                "call flatten_indices() on the dataset before save_to_disk()");
  }
  for (const Json& entry : state["_data_files"]) {
    const bool named = entry.is_object() && entry.contains("filename") && entry["filename"].is_string();
    const fs::path name = named ? entry["filename"].get<std::string>() : std::string();
    // A name from a file must not lead out of its folder.
    if (name.empty() || name.has_parent_path()) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: _data_files holds {}", file.string(), to_line(entry)),
                  "plain file names are expected");
    }
    files.push_back((folder / name).string());
  }
}

}  // namespace

std::unique_ptr<Source> open_hf(const std::vector<std::string>& folders, ReadOptions options) {
  std::vector<std::string> files;
  for (const std::string& folder : folders) add_files(split_folder(folder, options.split), files);
  if (files.empty()) throw Error(ErrorCode::not_found, fmt::format("{}: no data files", fmt::join(folders, ", ")));
  return open_ipc(std::move(files), std::move(options));
}

}  // namespace mobula::data
