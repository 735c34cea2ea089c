#include "mobula/data/dataset.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/expressions/expression.hpp"
#include "mobula/data/formats.hpp"
#include "mobula/data/operators/barriers.hpp"
#include "mobula/data/operators/block_operators.hpp"
#include "mobula/data/plan/plan.hpp"
#include "mobula/data/sinks/file_sink.hpp"
#include "mobula/data/sources/open_source.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

PlanContext context_of(const RunOptions& options) {
  PlanContext context;
  // Code, libraries and blocks under way take their share of the process before operators that hold rows may.
  constexpr std::uint64_t kShare = std::uint64_t{96} << 20;
  context.memory = options.memory > 2 * kShare ? options.memory - kShare : options.memory / 2;
  context.disk = options.disk;
  context.spill_directory = options.spill_directory;
  context.num_threads = options.num_threads;
  return context;
}

Json statistics_of(const PlanContext& context) {
  Json stretches = Json::array();
  for (const auto& stretch : context.stretches) {
    Json operators = Json::array();
    for (const auto& op : stretch->operators) {
      operators.push_back({{"name", op->name},
                           {"rows", op->rows.load()},
                           {"bytes", op->bytes.load()},
                           {"busy_s", static_cast<double>(op->busy_ns.load()) * 1e-9}});
    }
    stretches.push_back({{"operators", std::move(operators)},
                         {"waited_for_sink_s", static_cast<double>(stretch->waited_for_sink_ns.load()) * 1e-9},
                         {"waited_for_source_s", static_cast<double>(stretch->waited_for_source_ns.load()) * 1e-9}});
  }
  return stretches;
}

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
    rows_ += prepared->rows;
    return !use_ || use_(static_cast<const PreparedBlock&>(*prepared).block.batch);
  }
  std::int64_t rows() const { return rows_; }

 private:
  std::function<bool(const RecordBatchPointer&)> use_;
  std::int64_t rows_ = 0;
};

}  // namespace

Dataset::Dataset(std::shared_ptr<const PlanNode> plan) : plan_(std::move(plan)) {}

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
  if (fs::path(paths.front()).extension() == ".tsv") options.delimiter = '\t';
  return Dataset(
      std::make_shared<SourceNode>([paths, format, options] { return open_source(format, paths, options); }));
}

Dataset Dataset::range(std::int64_t rows) {
  if (rows < 0) throw_invalid(fmt::format("range: {} rows", rows));
  return Dataset(std::make_shared<SourceNode>([rows] { return open_range(rows); }));
}

Dataset Dataset::from_batches(std::vector<RecordBatchPointer> batches) {
  if (batches.empty()) throw_invalid("from_batches: no batch tells the columns");
  auto schema = batches.front()->schema();
  std::vector<Block> blocks;
  for (auto& batch : batches) {
    if (!batch->schema()->Equals(*schema)) throw_invalid("from_batches: the batches' columns differ");
    blocks.push_back({std::move(batch), nullptr});
  }
  return Dataset(std::make_shared<SourceNode>([schema, blocks] { return open_blocks(schema, blocks); }));
}

Dataset Dataset::filter(const std::string& predicate) const {
  parse_expression(predicate);
  return Dataset(std::make_shared<OperatorNode>(plan_, [predicate] { return filter_operator(predicate); }));
}

Dataset Dataset::with(std::vector<std::pair<std::string, std::string>> columns) const {
  for (const auto& [name, text] : columns) parse_expression(text);
  return Dataset(
      std::make_shared<OperatorNode>(plan_, [columns = std::move(columns)] { return with_operator(columns); }));
}

Dataset Dataset::select(std::vector<std::string> columns) const {
  return Dataset(
      std::make_shared<OperatorNode>(plan_, [columns = std::move(columns)] { return select_operator(columns); }));
}

Dataset Dataset::drop(std::vector<std::string> columns) const {
  return Dataset(
      std::make_shared<OperatorNode>(plan_, [columns = std::move(columns)] { return drop_operator(columns); }));
}

Dataset Dataset::rename(std::vector<std::pair<std::string, std::string>> names) const {
  return Dataset(std::make_shared<OperatorNode>(plan_, [names = std::move(names)] { return rename_operator(names); }));
}

Dataset Dataset::decode_image(DecodeImageOptions options) const {
  options.validate();
  return Dataset(
      std::make_shared<OperatorNode>(plan_, [options = std::move(options)] { return decode_image_operator(options); }));
}

Dataset Dataset::map_batches(std::function<RecordBatchPointer(const RecordBatchPointer&)> function,
                             MapOptions options) const {
  return map_batches_with([function = std::move(function)] { return function; }, std::move(options));
}

Dataset Dataset::map_batches_with(std::function<std::function<RecordBatchPointer(const RecordBatchPointer&)>()> make,
                                  MapOptions options) const {
  return Dataset(std::make_shared<OperatorNode>(plan_, [make = std::move(make), options = std::move(options)] {
    return map_batches_operator(options.name, make, options.max_instances, options.schema);
  }));
}

Dataset Dataset::limit(std::int64_t rows) const {
  if (rows < 0) throw_invalid(fmt::format("limit: {} rows", rows));
  return Dataset(std::make_shared<LimitNode>(plan_, rows));
}

Dataset Dataset::union_with(std::vector<Dataset> others) const {
  std::vector<std::shared_ptr<const PlanNode>> inputs{plan_};
  for (const Dataset& other : others) inputs.push_back(other.plan_);
  return Dataset(std::make_shared<UnionNode>(std::move(inputs)));
}

Dataset Dataset::random_shuffle(std::uint64_t seed) const {
  return Dataset(std::make_shared<BarrierNode>(
      plan_, [seed](const PlanContext& context) { return shuffle_barrier(seed, context); }, "random_shuffle"));
}

Dataset Dataset::sort(std::vector<SortKey> keys) const {
  return Dataset(std::make_shared<BarrierNode>(
      plan_, [keys = std::move(keys)](const PlanContext& context) { return sort_barrier(keys, context); }, "sort"));
}

Dataset Dataset::groupby(std::vector<std::string> keys, std::vector<Aggregate> aggregates) const {
  return Dataset(std::make_shared<BarrierNode>(
      plan_,
      [keys = std::move(keys), aggregates = std::move(aggregates)](const PlanContext& context) {
        return groupby_barrier(keys, aggregates, context);
      },
      "groupby"));
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
  PlanContext context = context_of(options);
  run_plan(*plan_, sink, context);
  return {sink.rows(), statistics_of(context)};
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
  if (format_named(format).whole_folder) {
    const auto sink = mds_sink(path, write);
    return run_into(*sink, options);
  }
  const bool folder =
      path.ends_with('/') || fs::is_directory(path) || !fs::path(path).has_extension() || !write.partition_by.empty();
  if (!folder) return write_file(path, format, write, options);
  const auto sink = folder_sink(path, format, write);
  return run_into(*sink, options);
}

RunResult Dataset::write_file(const std::string& path, const std::string& format, const WriteOptions& write,
                              const RunOptions& options) const {
  WriteOptions file_options = write;
  if (fs::path(path).extension() == ".tsv") file_options.delimiter = '\t';
  const auto sink = file_sink(path, format, file_options);
  return run_into(*sink, options);
}

RunResult Dataset::run_into(Sink& sink, const RunOptions& options) const {
  PlanContext context = context_of(options);
  run_plan(*plan_, sink, context);
  return {context.stretches.back()->operators.back()->rows.load(), statistics_of(context)};
}

std::shared_ptr<arrow::Schema> Dataset::schema(const RunOptions& options) const {
  PlanContext context = context_of(options);
  return schema_of(*plan_, context);
}

}  // namespace mobula::data
