#include "mobula/data/dataset.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <mutex>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/base/random.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/row_keys.hpp"
#include "mobula/data/describe.hpp"
#include "mobula/data/expressions/expression.hpp"
#include "mobula/data/formats.hpp"
#include "mobula/data/operators/barriers.hpp"
#include "mobula/data/operators/block_operators.hpp"
#include "mobula/data/operators/ordered_steps.hpp"
#include "mobula/data/plan/manifest.hpp"
#include "mobula/data/plan/part_runs.hpp"
#include "mobula/data/plan/plan.hpp"
#include "mobula/data/plan/plan_run.hpp"
#include "mobula/data/shards/sample_order.hpp"
#include "mobula/data/sinks/file_sink.hpp"
#include "mobula/data/sources/open_source.hpp"
#include "mobula/data/storage/compression.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kSampleStream = 0x73616d706c65;

/// Returns a number of a key's own (FNV-1a), the same on every machine.
std::uint64_t stream_of(const std::string& key) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

/// How the rows of one key, or all rows, are split.
struct SplitShare {
  std::uint64_t rows = 0;
  std::uint64_t test = 0;
};

/// Counts rows, and hands them to a function where there is one.
class UseSink : public Sink {
 public:
  explicit UseSink(std::function<bool(const RecordBatchPointer&)> use) : use_(std::move(use)) {}
  std::string describe() const override { return use_ ? "use" : "count"; }
  void open(const std::shared_ptr<arrow::Schema>&) override {}
  std::unique_ptr<Prepared> prepare(Block block) override {
    return use_ ? Sink::prepare(std::move(block)) : std::make_unique<Prepared>();
  }
  bool consume(std::unique_ptr<Prepared> prepared) override {
    return !use_ || use_(static_cast<const PreparedBlock&>(*prepared).block.batch);
  }

 private:
  std::function<bool(const RecordBatchPointer&)> use_;
};

}  // namespace

/// What stats() tells, shared by copies.
struct Dataset::LastRun {
  std::mutex mutex;
  Json statistics;
};

Dataset::Dataset(std::shared_ptr<const PlanNode> plan)
    : plan_(std::move(plan)), last_run_(std::make_shared<LastRun>()) {}

Dataset Dataset::read(const std::string& path, std::string format, ReadOptions options) {
  return read(std::vector<std::string>{path}, std::move(format), std::move(options));
}

Dataset Dataset::read(const std::vector<std::string>& paths, std::string format, ReadOptions options) {
  if (paths.empty()) throw_invalid("read: no paths");
  if (format.empty()) {
    format = format_of_path(paths.front());
    if (format.empty()) {
      throw_invalid(fmt::format("{}: its extension tells no format", paths.front()),
                    fmt::format("name one of {}", fmt::join(readable_formats(), ", ")));
    }
  }
  const FormatInfo& info = format_named(format);
  if (!options.types.empty() && !info.takes_types) {
    throw_invalid(fmt::format("types are of no use: {} files carry theirs", format));
  }
  if (without_compression(paths.front()).ends_with(".tsv")) options.delimiter = '\t';
  return Dataset(std::make_shared<SourceNode>([paths, format, options](const PlanContext& context) {
    ReadOptions own = options;
    own.exclude.insert(own.exclude.end(), context.excluded.begin(), context.excluded.end());
    return open_source(format, paths, own, context.bad_rows->skips());
  }));
}

Dataset Dataset::range(std::int64_t rows) {
  if (rows < 0) throw_invalid(fmt::format("range: {} rows", rows));
  return Dataset(std::make_shared<SourceNode>([rows](const PlanContext&) { return open_range(rows); }));
}

Dataset Dataset::from_batches(std::vector<RecordBatchPointer> batches) {
  if (batches.empty()) throw_invalid("from_batches: no batch tells the columns");
  auto schema = batches.front()->schema();
  std::vector<Block> blocks;
  const auto origin = std::make_shared<NumberedRows>(std::make_shared<const std::string>("batches in memory"));
  std::int64_t first_row = 0;
  for (auto& batch : batches) {
    if (!batch->schema()->Equals(*schema)) throw_invalid("from_batches: the batches' columns differ");
    Block block{std::move(batch), nullptr, origin};
    block.first_row = first_row;
    first_row += block.batch->num_rows();
    blocks.push_back(std::move(block));
  }
  return Dataset(
      std::make_shared<SourceNode>([schema, blocks](const PlanContext&) { return open_blocks(schema, blocks); }));
}

Dataset Dataset::generate(std::function<GenerateBatch()> make, GenerateOptions options) {
  return Dataset(
      std::make_shared<SourceNode>([make = std::move(make), options = std::move(options)](const PlanContext&) {
        return open_generator(options.name, make(), options.schema);
      }));
}

Dataset Dataset::exclude(std::vector<std::string> patterns) const {
  return Dataset(std::make_shared<ExcludeNode>(plan_, std::move(patterns)));
}

Dataset Dataset::filter(const std::string& predicate) const {
  parse_expression(predicate);
  return Dataset(std::make_shared<OperatorNode>(
      plan_, [predicate](const PlanContext& context) { return filter_operator(predicate, context.bad_rows); }));
}

Dataset Dataset::with(std::vector<std::pair<std::string, std::string>> columns) const {
  for (const auto& [name, text] : columns) parse_expression(text);
  return Dataset(std::make_shared<OperatorNode>(plan_, [columns = std::move(columns)](const PlanContext& context) {
    return with_operator(columns, context.bad_rows);
  }));
}

Dataset Dataset::select(std::vector<std::string> columns) const {
  return Dataset(std::make_shared<OperatorNode>(
      plan_, [columns = std::move(columns)](const PlanContext&) { return select_operator(columns); }));
}

Dataset Dataset::drop(std::vector<std::string> columns) const {
  return Dataset(std::make_shared<OperatorNode>(
      plan_, [columns = std::move(columns)](const PlanContext&) { return drop_operator(columns); }));
}

Dataset Dataset::rename(std::vector<std::pair<std::string, std::string>> names) const {
  return Dataset(std::make_shared<OperatorNode>(
      plan_, [names = std::move(names)](const PlanContext&) { return rename_operator(names); }));
}

Dataset Dataset::decode_image(DecodeImageOptions options) const {
  options.validate();
  return Dataset(std::make_shared<OperatorNode>(plan_, [options = std::move(options)](const PlanContext& context) {
    return decode_image_operator(options, context.bad_rows);
  }));
}

Dataset Dataset::map_batches(std::function<RecordBatchPointer(const RecordBatchPointer&)> function,
                             MapOptions options) const {
  return map_batches_with([function = std::move(function)] { return function; }, std::move(options));
}

Dataset Dataset::map_batches_with(std::function<std::function<RecordBatchPointer(const RecordBatchPointer&)>()> make,
                                  MapOptions options) const {
  return Dataset(std::make_shared<OperatorNode>(
      plan_, [make = std::move(make), options = std::move(options)](const PlanContext& context) {
        return map_batches_operator(options.name, make, options.max_instances, options.schema, context.bad_rows);
      }));
}

Dataset Dataset::map_rows(RowsFunction function, MapOptions options) const {
  return Dataset(std::make_shared<OperatorNode>(
      plan_, [function = std::move(function), options = std::move(options)](const PlanContext& context) {
        return map_rows_operator(options, function, context.bad_rows);
      }));
}

Dataset Dataset::stage(int num_threads) const {
  if (num_threads < 0) throw_invalid(fmt::format("stage: {} threads", num_threads));
  return Dataset(std::make_shared<StageNode>(plan_, "stage", nullptr, num_threads));
}

Dataset Dataset::sample(double fraction, std::uint64_t seed) const {
  if (!(fraction >= 0 && fraction <= 1))
    throw_invalid(fmt::format("sample: a fraction of {}; one between 0 and 1 is expected", fraction));
  return Dataset(std::make_shared<StageNode>(plan_, "sample", [fraction, seed] {
    return keep_step(fmt::format("sample({}, seed {})", fraction, seed), [fraction, seed](std::uint64_t row) {
      Random random(seed, kSampleStream);
      random.seek(row);
      return random.uniform() < fraction;
    });
  }));
}

std::pair<Dataset, Dataset> Dataset::train_test_split(double test_fraction, std::uint64_t seed,
                                                      const std::string& stratify, const RunOptions& options) const {
  if (!(test_fraction >= 0 && test_fraction <= 1))
    throw_invalid(fmt::format("train_test_split: a fraction of {}; one between 0 and 1 is expected", test_fraction));
  const auto part = [this](const std::string& name, std::function<std::unique_ptr<OrderedStep>(bool)> step, bool test) {
    return Dataset(std::make_shared<StageNode>(plan_, name, [step = std::move(step), test] { return step(test); }));
  };
  // A permutation sends as many rows below a number as the number says.
  const auto in_test = [seed](const SplitShare& share, std::uint64_t stream, std::uint64_t row) {
    if (share.test == 0 || share.test == share.rows) return share.test > 0;
    return SampleOrder({.num_samples = share.rows, .seed = seed + stream}).sample_at(row) < share.test;
  };
  std::function<std::unique_ptr<OrderedStep>(bool)> step;
  if (stratify.empty()) {
    SplitShare share;
    share.rows = static_cast<std::uint64_t>(count(options).rows);
    share.test = static_cast<std::uint64_t>(std::llround(test_fraction * static_cast<double>(share.rows)));
    step = [share, in_test](bool test) {
      return keep_step(test ? "split(test)" : "split(train)",
                       [share, in_test, test](std::uint64_t row) { return in_test(share, 0, row) == test; });
    };
  } else {
    auto shares = std::make_shared<std::map<std::string, SplitShare>>();
    std::uint64_t rows = 0;
    for_each(
        [&](const RecordBatchPointer& batch) {
          const RowKeys keys(*batch, find_key_columns(*batch->schema(), {stratify}, "train_test_split"),
                             "train_test_split");
          for (std::size_t row = 0; row < keys.size(); ++row) ++(*shares)[std::string(keys[row])].rows;
          rows += keys.size();
          return true;
        },
        options);
    // Whole rows by the largest remainder, so that the parts add up to the split's size.
    auto left = static_cast<std::int64_t>(std::llround(test_fraction * static_cast<double>(rows)));
    std::vector<std::pair<double, SplitShare*>> remainders;
    for (auto& [key, share] : *shares) {
      const double exact = test_fraction * static_cast<double>(share.rows);
      share.test = static_cast<std::uint64_t>(exact);
      left -= static_cast<std::int64_t>(share.test);
      remainders.emplace_back(exact - std::floor(exact), &share);
    }
    std::stable_sort(remainders.begin(), remainders.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    for (std::size_t i = 0; left > 0 && i < remainders.size(); ++i, --left) ++remainders[i].second->test;
    step = [shares, in_test, stratify](bool test) {
      const std::string name = fmt::format("split({} by {})", test ? "test" : "train", stratify);
      return keep_by_key_step(name, stratify, [shares, in_test, test](const std::string& key, std::uint64_t row) {
        const auto share = shares->find(key);
        if (share == shares->end() || row >= share->second.rows) {
          throw Error(ErrorCode::corrupt, "train_test_split: the rows differ from those that were counted",
                      "split again: the source has changed");
        }
        return in_test(share->second, stream_of(key), row) == test;
      });
    };
  }
  return {part("train_test_split", step, false), part("train_test_split", step, true)};
}

Dataset Dataset::repartition(std::int64_t rows) const {
  if (rows <= 0) throw_invalid(fmt::format("repartition: blocks of {} rows", rows));
  return Dataset(std::make_shared<RepartitionNode>(plan_, rows));
}

Dataset Dataset::zip(const Dataset& right) const {
  return Dataset(std::make_shared<ZipNode>(plan_, right.plan_));
}

Dataset Dataset::limit(std::int64_t rows) const {
  if (rows < 0) throw_invalid(fmt::format("limit: {} rows", rows));
  return Dataset(std::make_shared<StageNode>(plan_, "limit", [rows] { return limit_step(rows); }));
}

Dataset Dataset::union_with(std::vector<Dataset> others) const {
  std::vector<std::shared_ptr<const PlanNode>> inputs{plan_};
  for (const Dataset& other : others) inputs.push_back(other.plan_);
  return Dataset(std::make_shared<UnionNode>(std::move(inputs)));
}

Dataset Dataset::random_shuffle(std::uint64_t seed, std::int64_t window) const {
  if (window < 0) throw_invalid(fmt::format("random_shuffle: a window of {} rows", window));
  if (window > 0) return Dataset(std::make_shared<WindowShuffleNode>(plan_, seed, window));
  return Dataset(std::make_shared<BarrierNode>(
      plan_, [seed](const PlanContext& context) { return shuffle_barrier(seed, context); }, "random_shuffle", true));
}

Dataset Dataset::sort(std::vector<SortKey> keys) const {
  return Dataset(std::make_shared<BarrierNode>(
      plan_, [keys = std::move(keys)](const PlanContext& context) { return sort_barrier(keys, context); }, "sort",
      true));
}

Dataset Dataset::groupby(std::vector<std::string> keys, std::vector<Aggregate> aggregates) const {
  return Dataset(std::make_shared<BarrierNode>(
      plan_,
      [keys = std::move(keys), aggregates = std::move(aggregates)](const PlanContext& context) {
        return groupby_barrier(keys, aggregates, context);
      },
      "groupby", false));
}

Dataset Dataset::unique(std::vector<std::string> columns) const {
  return groupby(std::move(columns), {});
}

Dataset Dataset::join(const Dataset& right, std::vector<std::string> on, std::string how) const {
  return Dataset(std::make_shared<JoinNode>(plan_, right.plan_, std::move(on), std::move(how)));
}

RunResult Dataset::for_each(const std::function<bool(const RecordBatchPointer&)>& use,
                            const RunOptions& options) const {
  UseSink sink(use);
  return run_into(sink, options);
}

RunResult Dataset::count(const RunOptions& options) const {
  return for_each(nullptr, options);
}

std::vector<RecordBatchPointer> Dataset::collect(const RunOptions& options) const {
  std::vector<RecordBatchPointer> batches;
  for_each(
      [&batches](const RecordBatchPointer& batch) {
        batches.push_back(batch);
        return true;
      },
      options);
  return batches;
}

RunResult Dataset::write(const std::string& path, std::string format, const WriteOptions& write,
                         const RunOptions& options) const {
  if (format.empty()) format = format_of_path(path);
  if (format.empty()) {
    throw_invalid(fmt::format("{}: its extension tells no format", path),
                  fmt::format("name one of {}", fmt::join(writable_formats(), ", ")));
  }
  if (write.resume) {
    PlanContext context = context_of(options);
    PartedRun parted;
    plan_->open_sources(context, parted.sources);
    parted.memory = context.memory;
    parted.on_error = options.on_error;
    parted.run = [&](Sink& sink, PartSource part, std::shared_ptr<BadRows> bad_rows) {
      return run_once(*plan_, sink, options, std::move(bad_rows), std::move(part));
    };
    return end_run(write_parts(path, format, write, parted), options);
  }
  if (format_named(format).whole_folder) {
    const auto sink = mds_sink(path, write);
    return run_into(*sink, options);
  }
  const bool folder =
      path.ends_with('/') || look_at(path).folder || !fs::path(path).has_extension() || !write.partition_by.empty();
  if (!folder) return write_file(path, format, write, options);
  const auto sink = folder_sink(path, format, write);
  return run_into(*sink, options);
}

RunResult Dataset::write_file(const std::string& path, const std::string& format, const WriteOptions& write,
                              const RunOptions& options) const {
  WriteOptions file_options = write;
  if (without_compression(path).ends_with(".tsv")) file_options.delimiter = '\t';
  const auto sink = file_sink(path, format, file_options);
  return run_into(*sink, options);
}

RunResult Dataset::run_into(Sink& sink, const RunOptions& options) const {
  const auto bad_rows = std::make_shared<BadRows>(options.on_error);
  RunFigures done;
  try {
    done = run_once(*plan_, sink, options, bad_rows);
  } catch (...) {
    write_dead_letter(options.on_error, bad_rows->lines());
    throw;
  }
  write_dead_letter(options.on_error, bad_rows->lines());
  done.result.manifest = readable_manifest(done.statistics->manifest());
  return end_run(std::move(done.result), options);
}

RunResult Dataset::end_run(RunResult result, const RunOptions& options) const {
  {
    const std::lock_guard lock(last_run_->mutex);
    last_run_->statistics = result.statistics;
  }
  write_manifest(result, options);
  return result;
}

std::string Dataset::stats() const {
  const std::lock_guard lock(last_run_->mutex);
  return run_report(last_run_->statistics);
}

std::shared_ptr<arrow::Schema> Dataset::schema(const RunOptions& options) const {
  PlanContext context = context_of(options);
  return schema_of(*plan_, context);
}

}  // namespace mobula::data
