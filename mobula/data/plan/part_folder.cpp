#include "mobula/data/plan/part_folder.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string_view>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/log.hpp"
#include "mobula/data/formats.hpp"
#include "mobula/data/sinks/format_writer.hpp"
#include "mobula/data/storage/remote_path.hpp"
#include "mobula/data/storage/storage.hpp"
#include "mobula/data/tokens/sha256.hpp"

namespace mobula::data {
namespace {

constexpr std::size_t kMaxManifestBytes = std::size_t{1} << 30;
constexpr const char* kManifest = "_parts.json";
constexpr const char* kSuccess = "_SUCCESS";

void add_lines(const Json& mark, const char* key, std::vector<std::string>& lines) {
  for (const Json& line : mark.value(key, Json::array())) lines.push_back(line.get<std::string>());
}

/// Returns the number of the part that a file notes as whole.
std::optional<std::int64_t> part_of_mark(const std::string& name) {
  constexpr std::string_view kBegin = "_part-";
  constexpr std::string_view kEnd = ".json";
  if (!name.starts_with(kBegin) || !name.ends_with(kEnd)) return std::nullopt;
  std::int64_t part = 0;
  const char* end = name.data() + name.size() - kEnd.size();
  const auto [stop, failure] = std::from_chars(name.data() + kBegin.size(), end, part);
  if (failure != std::errc() || stop != end) return std::nullopt;
  return part;
}

/// Tells whether a file is one of a part, or what a run that was killed has left of one under a temporary name.
bool is_of_part(const std::string& path) {
  const std::string name = path.substr(path.rfind('/') + 1);
  const bool unfinished = name.starts_with(".part-") || name.starts_with("._part") || name.starts_with("._SUCCESS");
  return name.starts_with("part-") || (unfinished && name.ends_with(".tmp"));
}

/// Returns the digest of a source's rows, as JSON in their order.
std::string digest_of_rows(Source& source) {
  Sha256 digest;
  WriteOptions options;
  options.nan_as_null = true;
  const auto format = make_jsonl_format(source.schema(), options);
  while (const auto piece = source.next()) {
    while (true) {
      Block block = piece->read();
      if (block.batch == nullptr) break;
      digest.update(format->prepare(std::move(block))->text);
    }
  }
  return digest.finish();
}

}  // namespace

/// Keeps a second run away from a folder of this machine.
class PartFolder::Lock {
 public:
  explicit Lock(const std::string& folder) {
    if (is_remote(folder)) return;
    std::filesystem::create_directories(folder);
    descriptor_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor_ < 0) throw_io(folder, errno);
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
    const int reason = errno;
    ::close(descriptor_);
    if (reason == EWOULDBLOCK) {
      throw Error(ErrorCode::already_exists, fmt::format("{}: another run writes this folder", folder),
                  "wait for it, or end it");
    }
    throw_io(folder, reason);
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  ~Lock() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

 private:
  int descriptor_ = -1;
};

PartFolder::PartFolder(const std::string& path, Json identity) : path_(path), identity_(std::move(identity)) {
  while (path_.size() > 1 && path_.ends_with('/')) path_.pop_back();
  lock_ = std::make_unique<Lock>(path_);
}

PartFolder::~PartFolder() = default;

std::set<std::string> PartFolder::names() const {
  std::set<std::string> present;
  if (look_at(path_).folder) {
    for (const std::string& file : files_below(path_)) present.insert(file.substr(path_.size() + 1));
  }
  return present;
}

void PartFolder::settle(const char* key, std::uint64_t value) {
  identity_[key] = value;
  const std::set<std::string> present = names();
  settle_identity(present);
  for (const std::string& name : present) {
    const auto part = part_of_mark(name);
    if (!part) continue;
    const std::string file = path_ + "/" + name;
    Json mark = parse_json(read_stored(file, kMaxManifestBytes), file);
    const Json& files = mark.at("files");
    const bool whole =
        std::all_of(files.begin(), files.end(), [&](const Json& each) { return present.count(each) != 0; });
    if (whole) done_.emplace(*part, std::move(mark));
  }
  remove_unnoted(present);
  finished_ = present.count(kSuccess) != 0 && !done_.empty() &&
              done_.rbegin()->first + 1 == static_cast<std::int64_t>(done_.size()) &&
              done_.rbegin()->second.value("last", false);
}

void PartFolder::remove_unfinished() const {
  remove_unnoted(names());
}

void PartFolder::remove_unnoted(const std::set<std::string>& present) const {
  std::set<std::string> kept;
  for (const auto& [part, mark] : done_) {
    for (const Json& file : mark.at("files")) kept.insert(file.get<std::string>());
  }
  for (const std::string& name : present) {
    if (is_of_part(name) && kept.count(name) == 0) remove_stored(path_ + "/" + name);
  }
}

void PartFolder::settle_identity(const std::set<std::string>& present) {
  const std::string file = place(kManifest);
  if (present.count(kManifest) == 0) {
    if (!present.empty()) {
      throw Error(ErrorCode::already_exists, fmt::format("{}: the folder holds something else than parts", path_),
                  "name another folder");
    }
    write_stored(file, identity_.dump(1) + "\n");
    return;
  }
  const Json before = parse_json(read_stored(file, kMaxManifestBytes), file);
  for (const auto& [key, value] : identity_.items()) {
    if (before.contains(key) && before[key] == value) continue;
    if (!before.contains(key) && value.is_array() && value.empty()) continue;  // of before this was told
    const std::string what = key == "files"       ? "files, or files that have changed since"
                             : key == "contents"  ? "rows in a database (or in memory), which have changed since"
                             : key == "of"        ? "steps"
                             : key == "part_rows" ? "number of rows a part (part_rows)"
                                                  : key;
    throw_invalid(fmt::format("{}: its parts are of another run: other {}", path_, what),
                  "write to another folder, or remove this one to begin again");
  }
}

std::vector<std::string> PartFolder::bad_rows(std::vector<std::string> before) const {
  if (before.empty() && !done_.empty()) add_lines(done_.rbegin()->second, "bad_before", before);
  for (const auto& [part, mark] : done_) add_lines(mark, "bad", before);
  return before;
}

void PartFolder::note(std::int64_t part, Json mark) {
  write_stored(place(fmt::format("_part-{:05}.json", part)), to_line(mark) + "\n");
  done_.insert_or_assign(part, std::move(mark));
}

void PartFolder::finish(const Json& whole, const std::vector<std::string>& bad, std::int64_t skipped) {
  const std::int64_t last = done_.rbegin()->first;
  Json mark = done_.rbegin()->second;
  if (!mark.contains("whole")) {
    mark["last"] = true;
    mark["whole"] = whole;  // what a run that finds all parts there tells of the sources
    mark["bad_before"] = bad;
    mark["skipped_before"] = skipped;
    note(last, std::move(mark));
  }
  write_stored(place(kSuccess), "");
}

void PartFolder::remove_files(std::int64_t part) const {
  const std::string stem = fmt::format("part-{:05}", part);
  try {
    for (const std::string& file : files_below(path_)) {
      const std::string name = file.substr(file.rfind('/') + 1);
      if (name.starts_with(stem + ".") || name.starts_with(stem + "-")) remove_stored(file);
    }
  } catch (const std::exception& error) {
    log_warning("{}: files of part {} are left over from a run that failed: {}", path_, part, error.what());
  }
}

Json identity_of_parts(const std::vector<std::unique_ptr<Source>>& sources, const std::string& format,
                       const WriteOptions& write) {
  Json files = Json::array();
  Json rows = Json::array();
  std::string names;
  for (const auto& source : sources) {
    names += (names.empty() ? "" : ", ") + source->describe();
    const std::vector<std::string> own = source->files();
    for (const std::string& file : own) {
      const StoredInfo info = look_at(file);
      files.push_back({file, info.bytes, info.version});
    }
    // What no file holds, such as a query's rows, is known by the rows alone; those of a range by their number.
    if (own.empty() && source->num_rows() < 0) rows.push_back(digest_of_rows(*source));
  }
  return {
      {"source", names},  {"files", std::move(files)}, {"contents", std::move(rows)}, {"part_rows", write.part_rows},
      {"format", format}, {"of", write.resume_key}};
}

void check_part_options(const std::string& path, const std::string& format, const WriteOptions& write) {
  if (write.part_rows <= 0) throw_invalid(fmt::format("part_rows: {} is no number of rows", write.part_rows));
  if (format_named(format).whole_folder || write.overwrite) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: resume goes with files of parts alone", path),
                "leave out overwrite, and write another format than mds");
  }
}

void add_statistics(Json& sum, const Json& part) {
  if (sum.empty() || sum.size() != part.size()) {
    sum = part;
    return;
  }
  for (std::size_t i = 0; i < part.size(); ++i) {
    sum[i]["seconds"] = sum[i]["seconds"].get<double>() + part[i]["seconds"].get<double>();
    for (std::size_t k = 0; k < std::min(sum[i]["blocked"].size(), part[i]["blocked"].size()); ++k) {
      Json& seconds = sum[i]["blocked"][k]["seconds"];
      seconds = seconds.get<double>() + part[i]["blocked"][k]["seconds"].get<double>();
    }
    for (std::size_t k = 0; k < std::min(sum[i]["operators"].size(), part[i]["operators"].size()); ++k) {
      Json& to = sum[i]["operators"][k];
      const Json& from = part[i]["operators"][k];
      to["rows"] = to["rows"].get<std::int64_t>() + from["rows"].get<std::int64_t>();
      to["bytes"] = to["bytes"].get<std::int64_t>() + from["bytes"].get<std::int64_t>();
      to["busy_s"] = to["busy_s"].get<double>() + from["busy_s"].get<double>();
    }
  }
}

}  // namespace mobula::data
