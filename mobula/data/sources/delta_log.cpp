#include "mobula/data/sources/delta_log.hpp"

#include <arrow/array.h>
#include <arrow/io/interfaces.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <fmt/format.h>
#include <parquet/arrow/reader.h>
#include <parquet/exception.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string_view>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/sources/value_parsing.hpp"
#include "mobula/data/storage/remote_path.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMaxCommitBytes = std::size_t{1} << 30;
constexpr int kVersionDigits = 20;
constexpr int kMaxTypeDepth = 64;

[[noreturn]] void fail(const std::string& place, const std::string& message) {
  throw Error(ErrorCode::corrupt, fmt::format("{}: {}", place, message));
}

/// The files of _delta_log that matter.
struct LogFiles {
  std::map<std::int64_t, fs::path> commits;
  std::map<std::int64_t, std::vector<fs::path>> checkpoints;
};

LogFiles list_log(const fs::path& folder) {
  const fs::path log = folder / "_delta_log";
  if (!look_at(log.string()).folder) {
    throw Error(ErrorCode::not_found,
                fmt::format("{}: no Delta Lake table: it has no folder _delta_log", folder.string()));
  }
  LogFiles files;
  std::map<std::int64_t, std::size_t> num_parts;
  for (const std::string& file : files_below(log.string())) {
    const fs::path path(file);
    const std::string name = path.filename().string();
    if (path.parent_path() != log) continue;
    std::int64_t version = 0;
    // 20 digits are one more than a version can have.
    if (name.size() < kVersionDigits || name.front() != '0' ||
        !parse_int64(std::string_view(name).substr(1, kVersionDigits - 1), version)) {
      continue;
    }
    const std::string_view rest = std::string_view(name).substr(kVersionDigits);
    if (rest == ".json") files.commits[version] = path;
    if (rest == ".checkpoint.parquet") {
      files.checkpoints[version] = {path};
      num_parts[version] = 1;
    }
    // N.checkpoint.PART.PARTS.parquet
    std::int64_t parts = 0;
    constexpr std::size_t kPrefix = 12, kPart = 10;
    if (rest.starts_with(".checkpoint.") && rest.size() == kPrefix + kPart + 1 + kPart + 8 &&
        parse_int64(rest.substr(kPrefix + kPart + 1, kPart), parts) && num_parts[version] != 1) {
      files.checkpoints[version].push_back(path);
      num_parts[version] = static_cast<std::size_t>(parts);
    }
  }
  std::erase_if(files.checkpoints, [&](const auto& item) { return item.second.size() != num_parts[item.first]; });
  for (auto& [version, parts] : files.checkpoints) std::sort(parts.begin(), parts.end());
  return files;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr == text.data() + i + 3) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::shared_ptr<arrow::DataType> delta_type(const Json& type, const std::string& place, int depth = 0);

arrow::FieldVector struct_fields(const Json& type, const std::string& place, int depth) {
  arrow::FieldVector fields;
  if (!type.contains("fields") || !type["fields"].is_array()) fail(place, "a struct without fields in schemaString");
  for (const Json& field : type["fields"]) {
    if (!field.is_object() || !field.contains("name") || !field["name"].is_string() || !field.contains("type")) {
      fail(place, "a field without name or type in schemaString");
    }
    fields.push_back(arrow::field(field["name"].get<std::string>(), delta_type(field["type"], place, depth + 1)));
  }
  return fields;
}

std::shared_ptr<arrow::DataType> delta_type(const Json& type, const std::string& place, int depth) {
  if (depth > kMaxTypeDepth) fail(place, "schemaString is nested too deeply");
  if (type.is_string()) {
    static const std::map<std::string, std::shared_ptr<arrow::DataType>> kPrimitives = {
        {"string", arrow::utf8()},
        {"long", arrow::int64()},
        {"integer", arrow::int32()},
        {"short", arrow::int16()},
        {"byte", arrow::int8()},
        {"float", arrow::float32()},
        {"double", arrow::float64()},
        {"boolean", arrow::boolean()},
        {"binary", arrow::binary()},
        {"date", arrow::date32()},
        {"timestamp", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")},
        {"timestamp_ntz", arrow::timestamp(arrow::TimeUnit::MICRO)},
    };
    const auto name = type.get<std::string>();
    if (const auto found = kPrimitives.find(name); found != kPrimitives.end()) return found->second;
    int precision = 0;
    int scale = 0;
    if (std::sscanf(name.c_str(), "decimal(%d,%d)", &precision, &scale) == 2) {
      return take(arrow::DecimalType::Make(arrow::Type::DECIMAL128, precision, scale), place);
    }
    throw Error(ErrorCode::unsupported, fmt::format("{}: a column of type '{}'", place, name));
  }
  const std::string kind = type.is_object() && type.contains("type") && type["type"].is_string()
                               ? type["type"].get<std::string>()
                               : std::string();
  if (kind == "struct") return arrow::struct_(struct_fields(type, place, depth));
  if (kind == "array" && type.contains("elementType")) {
    return arrow::list(delta_type(type["elementType"], place, depth + 1));
  }
  if (kind == "map" && type.contains("keyType") && type.contains("valueType")) {
    return arrow::map(delta_type(type["keyType"], place, depth + 1), delta_type(type["valueType"], place, depth + 1));
  }
  fail(place, fmt::format("schemaString holds a type of kind '{}'", kind));
}

/// Takes in actions in the order of the log.
class Replay {
 public:
  explicit Replay(fs::path folder) : folder_(std::move(folder)) {}

  void add(const std::string& path, std::map<std::string, std::optional<std::string>> values, bool deletes_rows,
           const std::string& place) {
    if (deletes_rows) {
      throw Error(ErrorCode::unsupported, fmt::format("{}: {} has a deletion vector", place, path),
                  "rewrite the table without them (OPTIMIZE or REORG TABLE ... APPLY (PURGE)), and read that version");
    }
    files_[path] = {next_++, {located(path, place), std::move(values)}};
  }
  void remove(const std::string& path) { files_.erase(path); }
  void metadata(const std::string& schema, std::vector<std::string> partitions, bool maps_columns, std::string place) {
    schema_ = schema;
    partitions_ = std::move(partitions);
    maps_columns_ = maps_columns;
    schema_place_ = std::move(place);
  }
  void protocol(std::int64_t reader_version, const std::vector<std::string>& features, const std::string& place) const {
    static const std::set<std::string> kKnown = {"columnMapping", "timestampNtz", "deletionVectors",
                                                 "vacuumProtocolCheck", "v2Checkpoint"};
    if (reader_version > 3) {
      throw Error(
          ErrorCode::unsupported,
          fmt::format("{}: the table wants readers of version {}; this one knows up to 3", place, reader_version));
    }
    for (const std::string& feature : features) {
      if (!kKnown.contains(feature)) {
        throw Error(ErrorCode::unsupported, fmt::format("{}: the table wants readers that know '{}'", place, feature));
      }
    }
  }

  DeltaTable table(std::int64_t version) const {
    if (schema_.empty()) fail((folder_ / "_delta_log").string(), "no metaData in the log");
    DeltaTable table{version, {}, {}};
    const Json schema = parse_json(schema_, schema_place_, {.max_depth = kMaxTypeDepth * 2});
    for (const Json& field : schema.is_object() && schema.contains("fields") ? schema["fields"] : Json::array()) {
      if (!field.is_object() || !field.contains("name") || !field["name"].is_string() || !field.contains("type")) {
        fail(schema_place_, "a field without name or type in schemaString");
      }
      DeltaColumn column{field["name"].get<std::string>(), {}, delta_type(field["type"], schema_place_), false};
      column.physical_name = column.name;
      if (maps_columns_) {
        const Json& metadata = field.contains("metadata") ? field["metadata"] : Json::object();
        const auto found = metadata.find("delta.columnMapping.physicalName");
        if (found == metadata.end() || !found->is_string()) {
          fail(schema_place_, fmt::format("column '{}' has no physical name", column.name));
        }
        column.physical_name = found->get<std::string>();
      }
      column.partition = std::find(partitions_.begin(), partitions_.end(), column.name) != partitions_.end();
      table.columns.push_back(std::move(column));
    }
    std::map<std::int64_t, const DeltaFile*> ordered;
    for (const auto& [path, entry] : files_) ordered.emplace(entry.first, &entry.second);
    for (const auto& [number, file] : ordered) table.files.push_back(*file);
    return table;
  }

 private:
  std::string located(const std::string& path, const std::string& place) const {
    std::string decoded = percent_decoded(path);
    if (decoded.starts_with("file://")) decoded = decoded.substr(7);
    if (is_remote(decoded)) {
      if (is_remote(folder_.string()) && decoded.starts_with((folder_ / "").string())) return decoded;
      throw Error(ErrorCode::unsupported, fmt::format("{}: the file {} is on another system", place, path));
    }
    const fs::path file(decoded);
    for (const auto& part : file) {
      if (part == "..") fail(place, fmt::format("the path {} leaves the table's folder", path));
    }
    return file.is_absolute() ? decoded : (folder_ / file).string();
  }

  fs::path folder_;
  std::map<std::string, std::pair<std::int64_t, DeltaFile>> files_;
  std::int64_t next_ = 0;
  std::string schema_;
  std::string schema_place_;
  std::vector<std::string> partitions_;
  bool maps_columns_ = false;
};

std::string text_of(const Json& object, const char* key, const std::string& place) {
  if (!object.contains(key) || !object[key].is_string()) fail(place, fmt::format("'{}' is no string", key));
  return object[key].get<std::string>();
}

void replay_commit(const fs::path& file, Replay& replay) {
  const std::string content = read_stored(file.string(), kMaxCommitBytes);
  std::string_view rest = content;
  for (int line = 1; !rest.empty(); ++line) {
    const std::string_view text = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), text.size() + 1));
    if (text.find_first_not_of(" \r\t") == std::string_view::npos) continue;
    const std::string place = fmt::format("{}:{}", file.string(), line);
    const Json action = parse_json(text, place);
    if (!action.is_object()) fail(place, "an action is expected");
    if (const auto add = action.find("add"); add != action.end()) {
      std::map<std::string, std::optional<std::string>> values;
      if (const auto found = add->find("partitionValues"); found != add->end() && found->is_object()) {
        for (const auto& [name, value] : found->items()) {
          values[name] = value.is_string() ? std::optional(value.get<std::string>()) : std::nullopt;
        }
      }
      const bool deletes = add->contains("deletionVector") && !(*add)["deletionVector"].is_null();
      replay.add(text_of(*add, "path", place), std::move(values), deletes, place);
    } else if (const auto remove = action.find("remove"); remove != action.end()) {
      replay.remove(text_of(*remove, "path", place));
    } else if (const auto metadata = action.find("metaData"); metadata != action.end()) {
      std::vector<std::string> partitions;
      for (const Json& name :
           metadata->contains("partitionColumns") ? (*metadata)["partitionColumns"] : Json::array()) {
        if (name.is_string()) partitions.push_back(name.get<std::string>());
      }
      const Json& configuration = metadata->contains("configuration") ? (*metadata)["configuration"] : Json::object();
      const std::string mapping =
          configuration.is_object() ? configuration.value("delta.columnMapping.mode", "none") : "none";
      replay.metadata(text_of(*metadata, "schemaString", place), std::move(partitions), mapping != "none", place);
    } else if (const auto protocol = action.find("protocol"); protocol != action.end()) {
      std::vector<std::string> features;
      for (const Json& name : protocol->contains("readerFeatures") ? (*protocol)["readerFeatures"] : Json::array()) {
        if (name.is_string()) features.push_back(name.get<std::string>());
      }
      replay.protocol(protocol->value("minReaderVersion", 1), features, place);
    }
  }
}

/// One kind of action in a checkpoint: a struct column, null in the rows of other kinds.
class Actions {
 public:
  Actions(const arrow::RecordBatch& batch, const char* name, const std::string& place) : place_(place) {
    const auto column = batch.GetColumnByName(name);
    if (column == nullptr) return;
    if (column->type_id() != arrow::Type::STRUCT) fail(place, fmt::format("'{}' is no struct", name));
    actions_ = std::static_pointer_cast<arrow::StructArray>(column);
  }
  bool at(std::int64_t row) const { return actions_ != nullptr && !actions_->IsNull(row); }
  std::shared_ptr<arrow::Array> member(const char* name, arrow::Type::type type) const {
    const auto array = actions_->GetFieldByName(name);
    if (array != nullptr && array->type_id() != type) fail(place_, fmt::format("'{}' has an unexpected type", name));
    return array;
  }
  std::string text(const char* name, std::int64_t row) const {
    const auto array = member(name, arrow::Type::STRING);
    if (array == nullptr || array->IsNull(row)) fail(place_, fmt::format("'{}' is missing", name));
    return static_cast<const arrow::StringArray&>(*array).GetString(row);
  }
  std::vector<std::string> texts(const char* name, std::int64_t row) const {
    std::vector<std::string> values;
    const auto array = member(name, arrow::Type::LIST);
    if (array == nullptr || array->IsNull(row)) return values;
    const auto slice = static_cast<const arrow::ListArray&>(*array).value_slice(row);
    if (slice->type_id() != arrow::Type::STRING) fail(place_, fmt::format("'{}' is no list of strings", name));
    for (std::int64_t i = 0; i < slice->length(); ++i) {
      values.push_back(static_cast<const arrow::StringArray&>(*slice).GetString(i));
    }
    return values;
  }
  std::map<std::string, std::optional<std::string>> pairs(const char* name, std::int64_t row) const {
    std::map<std::string, std::optional<std::string>> values;
    const auto array = member(name, arrow::Type::MAP);
    if (array == nullptr || array->IsNull(row)) return values;
    const auto& map = static_cast<const arrow::MapArray&>(*array);
    if (map.keys()->type_id() != arrow::Type::STRING || map.items()->type_id() != arrow::Type::STRING) {
      fail(place_, fmt::format("'{}' is no map of strings", name));
    }
    const auto& keys = static_cast<const arrow::StringArray&>(*map.keys());
    const auto& items = static_cast<const arrow::StringArray&>(*map.items());
    for (std::int64_t i = map.value_offset(row); i < map.value_offset(row + 1); ++i) {
      values[keys.GetString(i)] = items.IsNull(i) ? std::nullopt : std::optional(items.GetString(i));
    }
    return values;
  }

 private:
  std::string place_;
  std::shared_ptr<arrow::StructArray> actions_;
};

void replay_checkpoint(const fs::path& file, Replay& replay) {
  const std::string place = file.string();
  const auto input = open_stored(place);
  std::shared_ptr<arrow::Table> table;
  try {
    auto reader = take(parquet::arrow::OpenFile(input, arrow::default_memory_pool()), place);
    table = take(reader->ReadTable(), place);
  } catch (const parquet::ParquetException& error) {
    fail(place, error.what());
  }
  arrow::TableBatchReader batches(*table);
  std::shared_ptr<arrow::RecordBatch> batch;
  for (check(batches.ReadNext(&batch), place); batch != nullptr; check(batches.ReadNext(&batch), place)) {
    check(batch->ValidateFull(), place);
    if (batch->GetColumnByName("sidecar") != nullptr && batch->GetColumnByName("add") == nullptr) {
      throw Error(ErrorCode::unsupported, fmt::format("{}: a checkpoint of the second kind", place));
    }
    const Actions adds(*batch, "add", place);
    const Actions metadata(*batch, "metaData", place);
    const Actions protocol(*batch, "protocol", place);
    for (std::int64_t row = 0; row < batch->num_rows(); ++row) {
      if (adds.at(row)) {
        const auto vectors = adds.member("deletionVector", arrow::Type::STRUCT);
        replay.add(adds.text("path", row), adds.pairs("partitionValues", row),
                   vectors != nullptr && !vectors->IsNull(row), place);
      }
      if (metadata.at(row)) {
        const auto configuration = metadata.pairs("configuration", row);
        const auto mode = configuration.find("delta.columnMapping.mode");
        const bool maps = mode != configuration.end() && mode->second.value_or("none") != "none";
        replay.metadata(metadata.text("schemaString", row), metadata.texts("partitionColumns", row), maps, place);
      }
      if (protocol.at(row)) {
        const auto versions = protocol.member("minReaderVersion", arrow::Type::INT32);
        const std::int64_t version =
            versions == nullptr ? 1 : static_cast<const arrow::Int32Array&>(*versions).Value(row);
        replay.protocol(version, protocol.texts("readerFeatures", row), place);
      }
    }
  }
}

}  // namespace

DeltaTable replay_delta_log(const std::string& folder, std::int64_t version) {
  const LogFiles files = list_log(folder);
  std::int64_t newest = files.commits.empty() ? -1 : files.commits.rbegin()->first;
  if (!files.checkpoints.empty()) newest = std::max(newest, files.checkpoints.rbegin()->first);
  if (newest < 0) throw Error(ErrorCode::corrupt, fmt::format("{}/_delta_log: holds no commits", folder));
  if (version > newest) {
    throw Error(ErrorCode::not_found, fmt::format("{}: no version {}; the newest is {}", folder, version, newest));
  }
  if (version < 0) version = newest;
  Replay replay(folder);
  std::int64_t from = 0;
  const auto after = files.checkpoints.upper_bound(version);
  if (after != files.checkpoints.begin()) {
    const auto& [checkpoint, parts] = *std::prev(after);
    for (const fs::path& part : parts) replay_checkpoint(part, replay);
    from = checkpoint + 1;
  }
  for (std::int64_t commit = from; commit <= version; ++commit) {
    const auto found = files.commits.find(commit);
    if (found == files.commits.end()) {
      throw Error(
          ErrorCode::not_found,
          fmt::format("{}: version {} can't be restored: commit {} is gone from its log", folder, version, commit),
          "the log was cleaned up; read a newer version");
    }
    replay_commit(found->second, replay);
  }
  return replay.table(version);
}

}  // namespace mobula::data
