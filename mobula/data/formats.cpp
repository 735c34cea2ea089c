#include "mobula/data/formats.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/storage/compression.hpp"
#include "mobula/data/storage/remote_path.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

std::vector<std::string> names_where(bool FormatInfo::*able) {
  std::vector<std::string> names;
  for (const FormatInfo& format : formats()) {
    if (format.*able) names.push_back(format.name);
  }
  return names;
}

/// Returns the format that a file's extension tells, behind that of its compression; null where it tells none.
const FormatInfo* format_of_file(std::string_view path) {
  std::string extension = fs::path(without_compression(path)).extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const FormatInfo& format : formats()) {
    if (std::find(format.extensions.begin(), format.extensions.end(), extension) != format.extensions.end())
      return &format;
  }
  return nullptr;
}

/// Returns the format of a folder's files, as a run left them; empty where they tell none, or several.
std::string format_of_files(const std::string& folder) {
  if (!look_at(folder).folder) return {};
  std::string found;
  for (const std::string& file : files_below(folder)) {
    const std::string name = fs::path(file).filename().string();
    const FormatInfo* const format = format_of_file(file);
    if (format == nullptr || name.starts_with('.') || name.starts_with('_')) continue;
    if (!found.empty() && found != format->name) return {};
    found = format->name;
  }
  return found;
}

}  // namespace

const std::vector<FormatInfo>& formats() {
  static const std::vector<FormatInfo> table = {
      {.name = "csv", .extensions = {".csv", ".tsv"}, .takes_types = true, .compressed = true},
      {.name = "jsonl", .extensions = {".jsonl", ".ndjson", ".json"}, .takes_types = true, .compressed = true},
      {.name = "text", .extensions = {".txt", ".text"}, .compressed = true},
      {.name = "parquet", .extensions = {".parquet", ".pq"}},
      {.name = "ipc", .extensions = {".arrow", ".arrows", ".ipc", ".feather"}},
      {.name = "tar", .extensions = {".tar", ".tgz"}, .compressed = true},
      {.name = "mds", .extensions = {}, .whole_folder = true},
      {.name = "hf", .extensions = {}, .writes = false, .whole_folder = true},
      {.name = "delta", .extensions = {}, .writes = false, .whole_folder = true},
      {.name = "sqlite", .extensions = {".sqlite", ".sqlite3", ".db"}, .writes = false},
      {.name = "database", .extensions = {}, .writes = false},
      {.name = "images", .extensions = {}, .writes = false},
      {.name = "binary", .extensions = {}, .writes = false},
  };
  return table;
}

std::vector<std::string> readable_formats() {
  return names_where(&FormatInfo::reads);
}

std::vector<std::string> writable_formats() {
  return names_where(&FormatInfo::writes);
}

const FormatInfo& format_named(const std::string& name) {
  for (const FormatInfo& format : formats()) {
    if (format.name == name) return format;
  }
  throw_invalid(fmt::format("unknown format '{}'", name), suggest(name, readable_formats()));
}

std::string format_of_path(const std::string& path) {
  for (const char* scheme : {"postgresql://", "postgres://", "snowflake://"}) {
    if (path.starts_with(scheme)) return "database";
  }
  const fs::path file(without_query(path));
  if (const FormatInfo* const format = format_of_file(file.native())) {
    if (!format->compressed && !compression_of(file.native()).empty()) {
      throw_invalid(fmt::format("{}: {} files are not compressed as a whole", path, format->name),
                    "decompress it first");
    }
    return format->name;
  }
  const auto holds = [&file](const char* name) { return look_at((file / name).string()).exists; };
  if (holds("_delta_log")) return "delta";
  if (holds("state.json") || holds("dataset_dict.json")) return "hf";
  if (holds("index.json")) return "mds";
  return format_of_files(path);
}

}  // namespace mobula::data
