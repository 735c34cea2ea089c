#include <arrow/type.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/data/blocks/process_memory.hpp"
#include "mobula/data/formats.hpp"
#include "mobula/data/plan/part_job.hpp"
#include "mobula/data/plan/part_workers.hpp"
#include "mobula/data/plan/plan_run.hpp"
#include "mobula/data/rows/part_worker_scope.hpp"
#include "mobula/data/rows/worker_directory.hpp"
#include "mobula/data/sinks/content_file.hpp"
#include "mobula/data/sinks/file_sink.hpp"
#include "mobula/data/storage/remote_path.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace {

constexpr const char* kEverywhere =
    "the sources' files must lie at the same path on every node (a folder that all mount), or in a store such as s3://";

std::string host_name() {
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  return host;
}

/// A sink of which it is known what columns came.
class KnownSink : public Sink {
 public:
  explicit KnownSink(std::unique_ptr<Sink> sink) : sink_(std::move(sink)) {}
  std::string describe() const override { return sink_->describe(); }
  void open(const std::shared_ptr<arrow::Schema>& schema) override {
    columns_ = column_types(*schema);
    sink_->open(schema);
  }
  std::unique_ptr<Prepared> prepare(Block block) override { return sink_->prepare(std::move(block)); }
  bool consume(std::unique_ptr<Prepared> prepared) override { return sink_->consume(std::move(prepared)); }
  void finish() override { sink_->finish(); }
  const ColumnTypes& columns() const { return columns_; }

 private:
  std::unique_ptr<Sink> sink_;
  ColumnTypes columns_;
};

}  // namespace

struct PartMaker::State {
  std::function<Dataset()> make;
  PartJob job;
  std::string host = host_name();
  std::unique_ptr<Dataset> dataset;  ///< made with the first part, so that its errors are that part's
  std::shared_ptr<Source> source;
  std::map<std::string, std::uint64_t> numbers;  ///< of the source's files as they are found here
  std::set<std::uint64_t> known;                 ///< files that are those of the run

  /// Opens the source, once for all parts.
  void open(const OpenSource& open_source) {
    if (source != nullptr) return;
    std::shared_ptr<Source> opened;
    try {
      opened = open_source();
      opened->know_columns(job.columns);
      if (const std::string other = difference_of(column_types(*job.columns), column_types(*opened->schema()));
          !other.empty()) {
        throw_invalid(fmt::format("{}: {} when the run began", opened->describe(), other));
      }
    } catch (const Error& error) {
      Error here(error.code(), fmt::format("{} (on node {})", error.message(), host),
                 error.code() == ErrorCode::not_found || error.hint().empty() ? kEverywhere : error.hint());
      throw here.caused_by(std::current_exception());
    }
    const std::vector<std::string> files = opened->files();
    for (std::size_t i = 0; i < files.size(); ++i) numbers.emplace(files[i], i);
    source = std::move(opened);
  }
  /// Returns a place as this node's source counts its files. Throws where the file is not the one that the run began with.
  PiecePlace here(PiecePlace place) {
    if (job.files.empty()) return place;
    const PartFile& file = job.files.at(place.file);
    const auto found = numbers.find(file.path);
    if (known.count(place.file) == 0) check(file, found != numbers.end());
    known.insert(place.file);
    place.file = found->second;
    return place;
  }
  void check(const PartFile& file, bool found) const {
    const StoredInfo info = look_at(file.path);
    if (!found || !info.exists)
      throw Error(ErrorCode::not_found, fmt::format("{}: no such file on node {}", file.path, host), kEverywhere);
    // Copies on several nodes were not written at one time.
    if (info.bytes != file.bytes || (is_remote(file.path) && info.version != file.version)) {
      throw Error(ErrorCode::corrupt,
                  fmt::format("{}: another file on node {} ({} bytes) than where the run began ({} bytes)", file.path,
                              host, info.bytes, file.bytes),
                  "give every node the same files, and leave them alone while they are read");
    }
  }
  Json make_part(const PartTask& task, const std::shared_ptr<BadRows>& bad_rows);
};

Json PartMaker::State::make_part(const PartTask& task, const std::shared_ptr<BadRows>& bad_rows) {
  if (dataset == nullptr) {
    keep_memory_warm();
    enter_working_directory(job.directory);
    const PartWorkerScope scope;
    dataset = std::make_unique<Dataset>(make());
  }
  std::vector<std::string> files;
  std::unique_ptr<Sink> file;
  if (job.write.partition_by.empty()) {
    const FormatInfo& format = format_named(job.format);
    files.push_back(fmt::format("part-{:05}{}{}", task.part, format.extensions.front(),
                                format.compressed ? content_file_ending(job.write) : ""));
    file = file_sink(job.folder + "/" + files.front(), job.format, job.write);
  } else {
    file = partition_sink(job.folder, job.format, job.write, task.part, &files);
  }
  KnownSink sink(std::move(file));
  const RunFigures done =
      run_once(*dataset->plan(), sink, job.run, bad_rows,
               [&](const OpenSource& open_source, const std::string& held_back_by) -> std::unique_ptr<Source> {
                 if (!held_back_by.empty())
                   throw_internal(fmt::format("{} in a worker that makes parts", held_back_by));
                 open(open_source);
                 PieceRun pieces = task.pieces;
                 for (PiecePlace& place : pieces.places) place = here(place);
                 return rows_of_pieces(source, std::move(pieces), task.begin, task.end);
               });
  return {{"rows", done.result.rows},
          {"files", files},
          {"manifest", done.statistics->manifest()},
          {"skipped", done.result.skipped},
          {"statistics", done.result.statistics},
          {"columns", sink.columns()}};
}

PartMaker::PartMaker(std::function<Dataset()> make, std::string job) : state_(std::make_unique<State>()) {
  state_->make = std::move(make);
  state_->job = PartJob::from_json(parse_json(job, "a job of parts"));
}

PartMaker::~PartMaker() = default;

PartReport PartMaker::make(const std::string& part) {
  const PartTask task = PartTask::from_json(parse_json(part, "a part"));
  // The limit is on what other parts have left out, too, as far as that was known when this one was handed out.
  const auto whole = std::make_shared<BadRows>(state_->job.run.on_error);
  const auto bad_rows = std::make_shared<BadRows>(state_->job.run.on_error, whole);
  PartReport report;
  Json figures = Json::object();
  try {
    whole->add_skipped(task.skipped_before);
    figures = state_->make_part(task, bad_rows);
  } catch (...) {
    report.error =
        encode_error(with_context(capture_task_failure(), fmt::format("part {} on node {}", task.part, state_->host)));
  }
  figures["host"] = state_->host;
  figures["bad"] = bad_rows->lines();
  report.json = figures.dump();
  return report;
}

}  // namespace mobula::data
