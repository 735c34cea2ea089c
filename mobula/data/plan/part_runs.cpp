#include "mobula/data/plan/part_runs.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/log.hpp"
#include "mobula/data/formats.hpp"
#include "mobula/data/plan/manifest.hpp"
#include "mobula/data/plan/row_ranges.hpp"
#include "mobula/data/sinks/file_sink.hpp"
#include "mobula/data/sinks/format_writer.hpp"
#include "mobula/data/storage/remote_path.hpp"
#include "mobula/data/storage/storage.hpp"
#include "mobula/data/tokens/sha256.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMaxManifestBytes = std::size_t{1} << 30;
constexpr const char* kManifest = "_parts.json";
constexpr const char* kSuccess = "_SUCCESS";

/// Keeps a second run away from a folder of this machine.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder) {
    if (is_remote(folder)) return;
    fs::create_directories(folder);
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
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

 private:
  int descriptor_ = -1;
};

/// Adds the figures of a further part: its stretches are the same.
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

/// Takes nothing: makes the plan's source known.
class NoSink : public Sink {
 public:
  std::string describe() const override { return "parts"; }
  void open(const std::shared_ptr<arrow::Schema>& schema) override { schema_ = schema; }
  bool consume(std::unique_ptr<Prepared>) override { return false; }
  const std::shared_ptr<arrow::Schema>& schema() const { return schema_; }

 private:
  std::shared_ptr<arrow::Schema> schema_;
};

/// Tells that there is nothing left to do. Thrown through a plan that is being made ready.
struct AllPartsThere {};

/// The folder that parts are written to.
class PartFolder {
 public:
  PartFolder(const std::string& path, Json identity) : path_(path), identity_(std::move(identity)) {
    while (path_.size() > 1 && path_.ends_with('/')) path_.pop_back();
    lock_.emplace(path_);
  }

  /// Looks at what is there: parts of the same run stay, what is left of unfinished ones goes.
  void settle(const char* key, std::uint64_t value) {
    identity_[key] = value;
    std::set<std::string> present;
    if (look_at(path_).folder) {
      for (const std::string& file : files_below(path_)) present.insert(file.substr(path_.size() + 1));
    }
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
    std::set<std::string> kept;
    for (const auto& [part, mark] : done_) {
      for (const Json& file : mark.at("files")) kept.insert(file.get<std::string>());
    }
    for (const std::string& name : present) {
      if (is_of_part(name) && kept.count(name) == 0) remove_stored(path_ + "/" + name);
    }
    finished_ = present.count(kSuccess) != 0 && !done_.empty() &&
                done_.rbegin()->first + 1 == static_cast<std::int64_t>(done_.size()) &&
                done_.rbegin()->second.value("last", false);
  }

  bool finished() const { return finished_; }
  const std::map<std::int64_t, Json>& done() const { return done_; }
  /// Returns the bad rows of what ran before the parts (`before`, or those of the run that finished), then of the parts.
  std::vector<std::string> bad_rows(std::vector<std::string> before) const {
    if (before.empty() && !done_.empty()) add_lines(done_.rbegin()->second, "bad_before", before);
    for (const auto& [part, mark] : done_) add_lines(mark, "bad", before);
    return before;
  }
  std::string place(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

  /// Notes that a part is whole.
  void note(std::int64_t part, Json mark) {
    write_stored(place(fmt::format("_part-{:05}.json", part)), to_line(mark) + "\n");
    done_.insert_or_assign(part, std::move(mark));
  }
  /// Notes that no part comes behind the last one, and that all is there; `whole` and `bad` are the manifest and the bad rows
  /// of what ran before the parts.
  void finish(const Json& whole, const std::vector<std::string>& bad, std::int64_t skipped) {
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
  /// Removes what a part that failed has left.
  void remove_files(std::int64_t part) const {
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

 private:
  /// Writes what the parts are of, or makes sure that those which are there are of the same.
  void settle_identity(const std::set<std::string>& present) {
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
  static void add_lines(const Json& mark, const char* key, std::vector<std::string>& lines) {
    for (const Json& line : mark.value(key, Json::array())) lines.push_back(line.get<std::string>());
  }
  /// Returns the number of the part that a file notes as whole.
  static std::optional<std::int64_t> part_of_mark(const std::string& name) {
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
  static bool is_of_part(const std::string& path) {
    const std::string name = path.substr(path.rfind('/') + 1);
    const bool unfinished = name.starts_with(".part-") || name.starts_with("._part") || name.starts_with("._SUCCESS");
    return name.starts_with("part-") || (unfinished && name.ends_with(".tmp"));
  }

  std::string path_;
  Json identity_;
  std::optional<FolderLock> lock_;
  std::map<std::int64_t, Json> done_;  ///< marks of the parts that are whole
  bool finished_ = false;
};

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

Json describe_sources(const std::vector<std::unique_ptr<Source>>& sources) {
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
  return {{"source", names}, {"files", std::move(files)}, {"contents", std::move(rows)}};
}

/// Runs the plan for the parts that are not there. `bad_rows` gets those of what runs before the parts, `failing` those of
/// the part that is made.
RunResult write_missing_parts(PartFolder& folder, const std::string& format, const WriteOptions& write,
                              const PartedRun& parted, const std::shared_ptr<BadRows>& bad_rows,
                              std::shared_ptr<BadRows>& failing) {
  // The plan is made ready once for its columns, and so that the rows of all parts come from one source.
  RowRanges ranges;
  NoSink none;
  PartFigures first;
  RunResult result;
  result.statistics = Json::array();
  const auto settle = [&](const char* key, std::uint64_t value) {
    folder.settle(key, value);
    for (const auto& [part, mark] : folder.done()) bad_rows->add_skipped(mark.value("skipped", std::int64_t{0}));
  };
  try {
    first = parted.run(
        none,
        [&](const OpenSource& open, bool by_number) -> std::unique_ptr<Source> {
          if (by_number) {
            if (!ranges.open_by_number(open)) return nullptr;
            settle("rows", static_cast<std::uint64_t>(ranges.num_rows()));
          } else {
            settle("memory", parted.memory);
            if (folder.finished()) throw AllPartsThere();
            ranges.open_in_order(open);
          }
          return ranges.range(0, 0);
        },
        bad_rows);
  } catch (const AllPartsThere&) {
    result.parts_before = static_cast<std::int64_t>(folder.done().size());
    Json parts = empty_manifest();
    for (const auto& [part, mark] : folder.done()) {
      result.rows_before += mark.at("rows").get<std::int64_t>();
      add_manifest(parts, mark.at("manifest"));
    }
    const Json& last = folder.done().rbegin()->second;
    bad_rows->add_skipped(last.value("skipped_before", std::int64_t{0}));
    result.skipped = bad_rows->num_skipped();
    result.manifest = manifest_of_parts(last.at("whole"), parts);
    return result;
  }

  WriteOptions file_options = write;
  file_options.durable = true;
  const std::string extension = make_format(format, none.schema(), file_options)->extension();
  Json parts = empty_manifest();
  for (std::int64_t part = 0;; ++part) {
    const std::int64_t begin = part * write.part_rows;
    const auto there = folder.done().find(part);
    if (there != folder.done().end()) {
      ++result.parts_before;
      result.rows_before += there->second.at("rows").get<std::int64_t>();
      add_manifest(parts, there->second.at("manifest"));
      continue;
    }
    if (part > 0 && !ranges.has_row(begin)) break;
    std::vector<std::string> files;
    std::unique_ptr<Sink> sink;
    if (write.partition_by.empty()) {
      files.push_back(fmt::format("part-{:05}{}", part, extension));
      sink = file_sink(folder.place(files.front()), format, file_options);
    } else {
      sink = partition_sink(folder.path(), format, file_options, part, &files);
    }
    failing = std::make_shared<BadRows>(parted.on_error, bad_rows);
    PartFigures done;
    try {
      done = parted.run(
          *sink, [&](const OpenSource&, bool) { return ranges.range(begin, begin + write.part_rows); }, failing);
    } catch (...) {
      sink.reset();
      if (!write.partition_by.empty()) folder.remove_files(part);
      throw;
    }
    result.rows += done.result.rows;
    add_statistics(result.statistics, done.result.statistics);
    Json manifest = done.statistics->manifest();
    add_manifest(parts, manifest);
    folder.note(part, {{"rows", done.result.rows},
                       {"files", files},
                       {"manifest", std::move(manifest)},
                       {"skipped", done.result.skipped},
                       {"bad", failing->lines()}});
    failing.reset();
  }
  const Json whole = first.statistics->manifest();
  std::int64_t skipped_in_parts = 0;
  for (const auto& [part, mark] : folder.done()) skipped_in_parts += mark.value("skipped", std::int64_t{0});
  result.skipped = bad_rows->num_skipped();
  folder.finish(whole, bad_rows->lines(), result.skipped - skipped_in_parts);
  result.manifest = manifest_of_parts(whole, parts);
  // What stands before the parts ran once; its last stretch is that of the parts.
  Json before = first.statistics->to_json();
  if (!before.empty()) before.erase(before.size() - 1);
  for (Json& stage : result.statistics) before.push_back(std::move(stage));
  result.statistics = std::move(before);
  return result;
}

}  // namespace

RunResult write_parts(const std::string& path, const std::string& format, const WriteOptions& write,
                      const PartedRun& parted) {
  if (write.part_rows <= 0) throw_invalid(fmt::format("part_rows: {} is no number of rows", write.part_rows));
  if (format_named(format).whole_folder || write.overwrite) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: resume goes with files of parts alone", path),
                "leave out overwrite, and write another format than mds");
  }
  Json identity = describe_sources(parted.sources);
  identity["part_rows"] = write.part_rows;
  identity["format"] = format;
  identity["of"] = write.resume_key;
  PartFolder folder(path, std::move(identity));

  const auto bad_rows =
      std::make_shared<BadRows>(parted.on_error);  // of what runs before the parts, and the limit on all
  std::shared_ptr<BadRows> failing;                // of the part that is made
  RunResult result;
  try {
    result = write_missing_parts(folder, format, write, parted, bad_rows, failing);
  } catch (...) {
    auto lines = folder.bad_rows(bad_rows->lines());
    if (failing != nullptr) {
      for (std::string& line : failing->lines()) lines.push_back(std::move(line));
    }
    write_dead_letter(parted.on_error, lines);
    throw;
  }
  write_dead_letter(parted.on_error, folder.bad_rows(bad_rows->lines()));
  return result;
}

}  // namespace mobula::data
