#include "mobula/data/plan/part_runs.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/data/formats.hpp"
#include "mobula/data/sinks/file_sink.hpp"
#include "mobula/data/sinks/format_writer.hpp"
#include "mobula/data/storage/remote_path.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMaxManifestBytes = std::size_t{1} << 30;
constexpr const char* kManifest = "_parts.json";
constexpr const char* kSuccess = "_SUCCESS";

/// The source of a run, opened once for all its parts.
struct SharedSource {
  std::shared_ptr<Source> source;
  std::vector<PiecePlace> places;
  std::int64_t rows = 0;
};

/// Rows [begin, end) of a piece, counted as it gives them.
class RowsOfPiece : public Piece {
 public:
  RowsOfPiece(std::unique_ptr<Piece> piece, std::int64_t begin, std::int64_t end)
      : piece_(std::move(piece)), begin_(begin), end_(end) {}

  Block read() override {
    while (next_ < end_) {
      Block block = piece_->read();
      if (block.batch == nullptr) return {};
      const std::int64_t rows = block.batch->num_rows();
      const std::int64_t from = std::clamp<std::int64_t>(begin_ - next_, 0, rows);
      const std::int64_t to = std::clamp<std::int64_t>(end_ - next_, 0, rows);
      next_ += rows;
      if (from >= to) continue;
      if (block.rows != nullptr) {
        block.rows =
            std::make_shared<const std::vector<std::int64_t>>(block.rows->begin() + from, block.rows->begin() + to);
      } else {
        block.first_row += from;
      }
      block.batch = block.batch->Slice(from, to - from);
      return block;
    }
    return {};
  }

 private:
  std::unique_ptr<Piece> piece_;
  std::int64_t begin_;
  std::int64_t end_;
  std::int64_t next_ = 0;
};

/// Rows [begin, end) of a source.
class RowsOfSource : public Source {
 public:
  RowsOfSource(std::shared_ptr<SharedSource> shared, std::int64_t begin, std::int64_t end)
      : shared_(std::move(shared)), begin_(begin), end_(end) {}

  std::shared_ptr<arrow::Schema> schema() override { return shared_->source->schema(); }
  std::unique_ptr<Piece> next() override {
    schema();
    while (next_ < shared_->places.size() && first_ < end_) {
      const PiecePlace& place = shared_->places[next_++];
      const std::int64_t first = first_;
      first_ += static_cast<std::int64_t>(place.rows);
      if (first_ <= begin_) continue;
      return std::make_unique<RowsOfPiece>(shared_->source->open(place), begin_ - first, end_ - first);
    }
    return nullptr;
  }
  std::string describe() const override { return shared_->source->describe(); }
  std::vector<std::string> files() const override { return shared_->source->files(); }

 private:
  std::shared_ptr<SharedSource> shared_;
  std::int64_t begin_;
  std::int64_t end_;
  std::size_t next_ = 0;
  std::int64_t first_ = 0;  ///< row of the next place
};

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

Json describe_source(const SharedSource& shared, const std::string& format, const WriteOptions& write) {
  Json files = Json::array();
  for (const std::string& file : shared.source->files()) {
    const StoredInfo info = look_at(file);
    files.push_back({file, info.bytes, info.version});
  }
  return {{"source", shared.source->describe()}, {"files", std::move(files)}, {"rows", shared.rows},
          {"part_rows", write.part_rows},        {"format", format},          {"of", write.resume_key}};
}

/// Writes what the parts are of, or makes sure that those which are there are of the same.
void settle_manifest(const std::string& folder, const std::set<std::string>& present, const Json& manifest) {
  const std::string file = folder + "/" + kManifest;
  if (present.count(kManifest) == 0) {
    if (!present.empty()) {
      throw Error(ErrorCode::already_exists, fmt::format("{}: the folder holds something else than parts", folder),
                  "name another folder");
    }
    write_stored(file, manifest.dump(1) + "\n");
    return;
  }
  const Json before = parse_json(read_stored(file, kMaxManifestBytes), file);
  for (const auto& [key, value] : manifest.items()) {
    if (before.contains(key) && before[key] == value) continue;
    const std::string what = key == "files"       ? "files, or files that have changed since"
                             : key == "of"        ? "steps"
                             : key == "part_rows" ? "number of rows a part (part_rows)"
                                                  : key;
    throw_invalid(fmt::format("{}: its parts are of another run: other {}", folder, what),
                  "write to another folder, or remove this one to begin again");
  }
}

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

}  // namespace

RunResult write_parts(const std::string& path, const std::string& format, const WriteOptions& write,
                      const std::function<RunResult(Sink& sink, PartSource part)>& run) {
  if (write.part_rows <= 0) throw_invalid(fmt::format("part_rows: {} is no number of rows", write.part_rows));
  if (format_named(format).whole_folder || !write.partition_by.empty() || write.overwrite) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: resume goes with files of parts alone", path),
                "leave out partition_by and overwrite, and write another format than mds");
  }
  std::string folder = path;
  while (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
  const FolderLock lock(folder);

  auto shared = std::make_shared<SharedSource>();
  NoSink none;
  run(none, [&shared](const std::function<std::unique_ptr<Source>()>& open) -> std::unique_ptr<Source> {
    shared->source = open();
    return std::make_unique<RowsOfSource>(shared, 0, 0);
  });
  shared->places = shared->source->places();
  for (const PiecePlace& place : shared->places) shared->rows += static_cast<std::int64_t>(place.rows);

  std::set<std::string> present;
  if (look_at(folder).folder) {
    for (const std::string& file : files_below(folder)) {
      const std::string name = file.substr(folder.size() + 1);
      // A run that was killed leaves its last file under a temporary name.
      const bool left_over = name.starts_with(".part-") && name.ends_with(".tmp");
      if (left_over) remove_stored(file);
      if (!left_over) present.insert(name);
    }
  }
  settle_manifest(folder, present, describe_source(*shared, format, write));

  WriteOptions file_options = write;
  file_options.durable = true;
  const std::string extension = make_format(format, none.schema(), file_options)->extension();
  const std::int64_t parts = std::max<std::int64_t>(1, (shared->rows + write.part_rows - 1) / write.part_rows);
  RunResult result;
  result.statistics = Json::array();
  for (std::int64_t part = 0; part < parts; ++part) {
    const std::string name = fmt::format("part-{:05}{}", part, extension);
    if (present.count(name) != 0) {
      ++result.parts_before;
      continue;
    }
    const auto sink = file_sink(folder + "/" + name, format, file_options);
    const std::int64_t begin = part * write.part_rows;
    const RunResult done = run(*sink, [&](const std::function<std::unique_ptr<Source>()>&) -> std::unique_ptr<Source> {
      return std::make_unique<RowsOfSource>(shared, begin, begin + write.part_rows);
    });
    result.rows += done.rows;
    result.skipped += done.skipped;
    add_statistics(result.statistics, done.statistics);
  }
  write_stored(folder + "/" + kSuccess, "");
  return result;
}

}  // namespace mobula::data
