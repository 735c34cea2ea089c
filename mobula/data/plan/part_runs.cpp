#include "mobula/data/plan/part_runs.hpp"

#include <arrow/type.h>
#include <fmt/format.h>

#include <utility>

#include "mobula/base/json.hpp"
#include "mobula/data/plan/manifest.hpp"
#include "mobula/data/plan/part_folder.hpp"
#include "mobula/data/plan/row_ranges.hpp"
#include "mobula/data/sinks/file_sink.hpp"
#include "mobula/data/sinks/format_writer.hpp"

namespace mobula::data {
namespace {

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

/// Runs the plan for the parts that are not there. `bad_rows` gets those of what runs before the parts, `failing` those of
/// the part that is made.
RunResult write_missing_parts(PartFolder& folder, const std::string& format, const WriteOptions& write,
                              const PartedRun& parted, const std::shared_ptr<BadRows>& bad_rows,
                              std::shared_ptr<BadRows>& failing) {
  // The plan is made ready once for its columns, and so that the rows of all parts come from one source.
  RowRanges ranges;
  NoSink none;
  RunFigures first;
  RunResult result;
  result.statistics = Json::array();
  const auto settle = [&](const char* key, std::uint64_t value) {
    folder.settle(key, value);
    for (const auto& [part, mark] : folder.done()) bad_rows->add_skipped(mark.value("skipped", std::int64_t{0}));
  };
  try {
    first = parted.run(
        none,
        [&](const OpenSource& open, const std::string& held_back_by) -> std::unique_ptr<Source> {
          if (held_back_by.empty()) {
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
    RunFigures done;
    try {
      done = parted.run(
          *sink, [&](const OpenSource&, const std::string&) { return ranges.range(begin, begin + write.part_rows); },
          failing);
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
  check_part_options(path, format, write);
  PartFolder folder(path, identity_of_parts(parted.sources, format, write));

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
