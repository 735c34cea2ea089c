#include <arrow/array.h>
#include <arrow/array/array_nested.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/array/concatenate.h>
#include <arrow/array/util.h>
#include <arrow/buffer.h>
#include <arrow/compute/api_vector.h>
#include <arrow/compute/cast.h>
#include <arrow/datum.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/row_keys.hpp"
#include "mobula/data/engine/spill.hpp"
#include "mobula/data/operators/barriers.hpp"
#include "mobula/data/sources/open_source.hpp"

namespace mobula::data {
namespace {

constexpr std::size_t kNumFiles = 16;
constexpr int kMaxDepth = 6;  ///< of partitions inside partitions

/// The state of one aggregate over all groups.
class Accumulator {
 public:
  virtual ~Accumulator() = default;
  /// Adds the rows of a batch; `groups` tells each row's group, or -1 for rows to leave alone. Groups never shrink.
  virtual void add(const arrow::Array& column, const std::vector<std::int64_t>& groups, std::size_t num_groups) = 0;
  virtual std::shared_ptr<arrow::Array> finish() = 0;
  /// Returns the bytes of state that grew beside a fixed number a group.
  virtual std::int64_t extra_bytes() const { return 0; }
};

/// count: values that aren't null.
class Count : public Accumulator {
 public:
  void add(const arrow::Array& column, const std::vector<std::int64_t>& groups, std::size_t num_groups) override {
    counts_.resize(num_groups);
    for (std::size_t row = 0; row < groups.size(); ++row) {
      if (groups[row] >= 0 && column.IsValid(static_cast<std::int64_t>(row)))
        ++counts_[static_cast<std::size_t>(groups[row])];
    }
  }
  std::shared_ptr<arrow::Array> finish() override {
    arrow::Int64Builder builder;
    check(builder.AppendValues(counts_), "groupby");
    return take(builder.Finish(), "groupby");
  }

 private:
  std::vector<std::int64_t> counts_;
};

/// sum of integers: exact, or an error.
class IntegerSum : public Accumulator {
 public:
  explicit IntegerSum(std::string name) : name_(std::move(name)) {}
  void add(const arrow::Array& column, const std::vector<std::int64_t>& groups, std::size_t num_groups) override {
    sums_.resize(num_groups);
    seen_.resize(num_groups);
    const auto cast = take(arrow::compute::Cast(column, arrow::int64()), name_);
    const auto& values = static_cast<const arrow::Int64Array&>(*cast);
    for (std::size_t row = 0; row < groups.size(); ++row) {
      const auto at = static_cast<std::int64_t>(row);
      if (groups[row] < 0 || values.IsNull(at)) continue;
      const auto group = static_cast<std::size_t>(groups[row]);
      seen_[group] = true;
      if (__builtin_add_overflow(sums_[group], values.Value(at), &sums_[group])) {
        throw Error(ErrorCode::invalid_argument, fmt::format("groupby: the sum of '{}' does not fit 64 bits", name_),
                    "cast the column to float64 first");
      }
    }
  }
  std::shared_ptr<arrow::Array> finish() override {
    arrow::Int64Builder builder;
    for (std::size_t i = 0; i < sums_.size(); ++i)
      check(seen_[i] ? builder.Append(sums_[i]) : builder.AppendNull(), name_);
    return take(builder.Finish(), name_);
  }

 private:
  std::string name_;
  std::vector<std::int64_t> sums_;
  std::vector<bool> seen_;
};

/// sum, mean, stddev (of a sample) of real numbers, by Welford's algorithm.
class Moments : public Accumulator {
 public:
  Moments(std::string function, std::string name) : function_(std::move(function)), name_(std::move(name)) {}
  void add(const arrow::Array& column, const std::vector<std::int64_t>& groups, std::size_t num_groups) override {
    states_.resize(num_groups);
    const auto cast =
        take(arrow::compute::Cast(column, arrow::float64(), arrow::compute::CastOptions::Unsafe()), name_);
    const auto& values = static_cast<const arrow::DoubleArray&>(*cast);
    for (std::size_t row = 0; row < groups.size(); ++row) {
      const auto at = static_cast<std::int64_t>(row);
      if (groups[row] < 0 || values.IsNull(at)) continue;
      State& state = states_[static_cast<std::size_t>(groups[row])];
      const double value = values.Value(at);
      ++state.count;
      state.sum += value;
      const double delta = value - state.mean;
      state.mean += delta / static_cast<double>(state.count);
      state.squares += delta * (value - state.mean);
    }
  }
  std::shared_ptr<arrow::Array> finish() override {
    arrow::DoubleBuilder builder;
    for (const State& state : states_) {
      const bool defined = state.count > (function_ == "stddev" ? 1 : 0);
      const double value = function_ == "sum"    ? state.sum
                           : function_ == "mean" ? state.sum / static_cast<double>(state.count)
                                                 : std::sqrt(state.squares / static_cast<double>(state.count - 1));
      check(defined ? builder.Append(value) : builder.AppendNull(), name_);
    }
    return take(builder.Finish(), name_);
  }

 private:
  struct State {
    std::int64_t count = 0;
    double sum = 0;
    double mean = 0;
    double squares = 0;
  };
  std::string function_;
  std::string name_;
  std::vector<State> states_;
};

/// min, max, first of any type with an order: keeps a value's key and its row, one batch of winners at a time.
class Pick : public Accumulator {
 public:
  Pick(std::string function, std::string name) : function_(std::move(function)), name_(std::move(name)) {}
  void add(const arrow::Array& column, const std::vector<std::int64_t>& groups, std::size_t num_groups) override {
    keys_.resize(num_groups);
    const auto schema = arrow::schema({arrow::field(name_, column.type())});
    const auto shared = arrow::MakeArray(column.data());
    const auto batch = arrow::RecordBatch::Make(schema, column.length(), {shared});
    const RowKeys keys(*batch, {{0, false}}, "groupby");
    std::vector<std::int64_t> winners(num_groups, -1);
    for (std::size_t row = 0; row < groups.size(); ++row) {
      if (groups[row] < 0 || column.IsNull(static_cast<std::int64_t>(row))) continue;
      const auto group = static_cast<std::size_t>(groups[row]);
      const std::string_view key = keys[row];
      const bool better = keys_[group].empty() || (function_ == "min" && key < keys_[group]) ||
                          (function_ == "max" && key > keys_[group]);
      if (!better) continue;
      extra_bytes_ += static_cast<std::int64_t>(key.size()) - static_cast<std::int64_t>(keys_[group].size());
      keys_[group].assign(key);
      winners[group] = static_cast<std::int64_t>(row);
    }
    // The winners so far and the batch's new ones become one column again.
    arrow::Int64Builder indices;
    const std::int64_t old_size = values_ == nullptr ? 0 : values_->length();
    for (std::size_t group = 0; group < num_groups; ++group) {
      const bool kept = winners[group] < 0;
      const bool none = kept && static_cast<std::int64_t>(group) >= old_size;
      check(none ? indices.AppendNull()
                 : indices.Append(kept ? static_cast<std::int64_t>(group) : old_size + winners[group]),
            name_);
    }
    const auto pool = values_ == nullptr ? shared : take(arrow::Concatenate({values_, shared}), name_);
    values_ = take(arrow::compute::Take(*pool, *take(indices.Finish(), name_)), name_);
  }
  std::shared_ptr<arrow::Array> finish() override { return values_; }
  std::int64_t extra_bytes() const override { return extra_bytes_; }

 private:
  std::string function_;
  std::string name_;
  std::vector<std::string> keys_;
  std::shared_ptr<arrow::Array> values_;
  std::int64_t extra_bytes_ = 0;
};

/// count_distinct: values that aren't null and differ.
class CountDistinct : public Accumulator {
 public:
  explicit CountDistinct(std::string name) : name_(std::move(name)) {}
  void add(const arrow::Array& column, const std::vector<std::int64_t>& groups, std::size_t num_groups) override {
    sets_.resize(num_groups);
    const auto batch = arrow::RecordBatch::Make(arrow::schema({arrow::field(name_, column.type())}), column.length(),
                                                {arrow::MakeArray(column.data())});
    const RowKeys keys(*batch, {{0, false}}, "groupby");
    for (std::size_t row = 0; row < groups.size(); ++row) {
      if (groups[row] < 0 || column.IsNull(static_cast<std::int64_t>(row))) continue;
      if (sets_[static_cast<std::size_t>(groups[row])].emplace(keys[row]).second)
        extra_bytes_ += 64 + static_cast<std::int64_t>(keys[row].size());
    }
  }
  std::shared_ptr<arrow::Array> finish() override {
    arrow::Int64Builder builder;
    for (const auto& set : sets_) check(builder.Append(static_cast<std::int64_t>(set.size())), name_);
    return take(builder.Finish(), name_);
  }
  std::int64_t extra_bytes() const override { return extra_bytes_; }

 private:
  std::string name_;
  std::vector<std::unordered_set<std::string>> sets_;
  std::int64_t extra_bytes_ = 0;
};

const std::vector<std::string> kFunctions = {"sum", "mean", "min", "max", "count", "count_distinct", "stddev", "first"};

std::unique_ptr<Accumulator> make_accumulator(const Aggregate& aggregate, const arrow::DataType& type) {
  const std::string& function = aggregate.function;
  if (function == "count") return std::make_unique<Count>();
  if (function == "count_distinct") return std::make_unique<CountDistinct>(aggregate.column);
  if (function == "min" || function == "max" || function == "first")
    return std::make_unique<Pick>(function, aggregate.column);
  if (function == "sum" || function == "mean" || function == "stddev") {
    if (!arrow::is_numeric(type.id()) && type.id() != arrow::Type::BOOL) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("groupby: {} of column '{}', which is {}", function, aggregate.column, type.ToString()));
    }
    if (function == "sum" && !arrow::is_floating(type.id())) return std::make_unique<IntegerSum>(aggregate.column);
    return std::make_unique<Moments>(function, aggregate.column);
  }
  throw_invalid(fmt::format("groupby: unknown aggregate '{}'", function), suggest(function, kFunctions));
}

/// What stays the same for all partitions.
struct GroupPlan {
  std::vector<KeyColumn> keys;
  std::vector<Aggregate> aggregates;
  std::vector<int> positions;  ///< of the aggregates' columns
  std::shared_ptr<arrow::Schema> input;
  std::shared_ptr<arrow::Schema> output;
  std::int64_t max_bytes;
  std::shared_ptr<SpillSpace> space;
};

/// Groups in memory. Once the memory is full, groups that are known go on to be updated, and rows of other keys go to
/// files by their key's hash, each file to be grouped on its own later.
class GroupTable {
 public:
  GroupTable(std::shared_ptr<const GroupPlan> plan, int depth) : plan_(std::move(plan)), depth_(depth) {
    for (std::size_t i = 0; i < plan_->aggregates.size(); ++i) {
      accumulators_.push_back(
          make_accumulator(plan_->aggregates[i], *plan_->input->field(plan_->positions[i])->type()));
    }
  }

  void add(const std::shared_ptr<arrow::RecordBatch>& batch) {
    const RowKeys keys(*batch, plan_->keys, "groupby");
    std::vector<std::int64_t> groups(keys.size(), -1);
    std::vector<std::uint32_t> first_rows;
    std::vector<std::vector<std::uint32_t>> spilled(kNumFiles);
    const bool full = bytes() > plan_->max_bytes && depth_ < kMaxDepth;
    for (std::size_t row = 0; row < keys.size(); ++row) {
      const std::string key(keys[row]);
      auto found = groups_.find(key);
      if (found == groups_.end()) {
        if (full) {
          // Another hash at each depth, so that a file's keys spread again.
          const std::size_t hash = std::hash<std::string>{}(key)*0x9E3779B97F4A7C15u;
          spilled[hash >> (56 - 4 * depth_) & (kNumFiles - 1)].push_back(static_cast<std::uint32_t>(row));
          continue;
        }
        found = groups_.emplace(key, static_cast<std::int64_t>(groups_.size())).first;
        key_bytes_ += static_cast<std::int64_t>(key.size()) + 96;
        first_rows.push_back(static_cast<std::uint32_t>(row));
      }
      groups[row] = found->second;
    }
    if (!first_rows.empty()) {
      std::vector<int> positions;
      for (const KeyColumn& key : plan_->keys) positions.push_back(key.position);
      key_rows_.push_back(take_rows(take(batch->SelectColumns(positions), "groupby"), std::move(first_rows)));
      key_bytes_ += batch_bytes(*key_rows_.back());
    }
    for (std::size_t i = 0; i < accumulators_.size(); ++i) {
      accumulators_[i]->add(*batch->column(plan_->positions[i]), groups, groups_.size());
    }
    if (!full) return;
    if (files_.empty()) {
      for (std::size_t i = 0; i < kNumFiles; ++i)
        files_.push_back(std::make_shared<SpillFile>(plan_->space, plan_->input));
    }
    for (std::size_t i = 0; i < kNumFiles; ++i) {
      if (!spilled[i].empty()) files_[i]->append(take_rows(batch, std::move(spilled[i])));
    }
  }

  /// Returns the groups and leaves the files to take_files().
  std::shared_ptr<arrow::RecordBatch> finish() {
    for (const auto& file : files_) file->finish();
    arrow::ArrayVector columns;
    const auto num_groups = static_cast<std::int64_t>(groups_.size());
    if (!key_rows_.empty()) {
      columns = combine_batches(key_rows_, key_rows_.front()->schema())->columns();
    } else {
      for (std::size_t i = 0; i < plan_->keys.size(); ++i) {
        columns.push_back(take(arrow::MakeEmptyArray(plan_->output->field(static_cast<int>(i))->type()), "groupby"));
      }
    }
    for (std::size_t i = 0; i < accumulators_.size(); ++i) {
      auto values = num_groups == 0 ? nullptr : accumulators_[i]->finish();
      if (values == nullptr) {
        values = take(arrow::MakeEmptyArray(plan_->output->field(static_cast<int>(plan_->keys.size() + i))->type()),
                      "groupby");
      }
      columns.push_back(std::move(values));
    }
    return arrow::RecordBatch::Make(plan_->output, num_groups, std::move(columns));
  }
  std::vector<std::shared_ptr<SpillFile>> take_files() { return std::move(files_); }

 private:
  static std::shared_ptr<arrow::RecordBatch> take_rows(const std::shared_ptr<arrow::RecordBatch>& batch,
                                                       std::vector<std::uint32_t> rows) {
    const auto size = static_cast<std::int64_t>(rows.size());
    const auto indices = std::make_shared<arrow::UInt32Array>(size, arrow::Buffer::FromVector(std::move(rows)));
    return take(arrow::compute::Take(batch, indices), "groupby").record_batch();
  }
  std::int64_t bytes() const {
    std::int64_t sum = key_bytes_ + static_cast<std::int64_t>(groups_.size() * accumulators_.size() * 32);
    for (const auto& accumulator : accumulators_) sum += accumulator->extra_bytes();
    return sum;
  }

  std::shared_ptr<const GroupPlan> plan_;
  int depth_;
  std::unordered_map<std::string, std::int64_t> groups_;
  std::vector<std::unique_ptr<Accumulator>> accumulators_;
  arrow::RecordBatchVector key_rows_;
  std::int64_t key_bytes_ = 0;
  std::vector<std::shared_ptr<SpillFile>> files_;
};

/// Gives the groups that fitted, then groups the files one after the other.
class GroupSource : public Source {
 public:
  GroupSource(std::shared_ptr<const GroupPlan> plan, std::shared_ptr<arrow::RecordBatch> first,
              std::vector<std::shared_ptr<SpillFile>> files)
      : plan_(std::move(plan)), first_(std::move(first)) {
    for (auto& file : files) waiting_.push_back({std::move(file), 1});
  }
  std::shared_ptr<arrow::Schema> schema() override { return plan_->output; }
  std::string describe() const override { return "groups"; }
  std::unique_ptr<Piece> next() override {
    if (first_ != nullptr) return piece_of(std::move(first_));
    while (!waiting_.empty()) {
      const auto [file, depth] = std::move(waiting_.back());
      waiting_.pop_back();
      if (file->num_rows() == 0) continue;
      GroupTable table(plan_, depth);
      const auto reader = file->read();
      std::shared_ptr<arrow::RecordBatch> batch;
      while (true) {
        check(reader->ReadNext(&batch), "groupby: reading back");
        if (batch == nullptr) break;
        table.add(batch);
      }
      auto groups = table.finish();
      for (auto& inner : table.take_files()) waiting_.push_back({std::move(inner), depth + 1});
      return piece_of(std::move(groups));
    }
    return nullptr;
  }

 private:
  std::unique_ptr<Piece> piece_of(std::shared_ptr<arrow::RecordBatch> batch) const {
    std::vector<Block> blocks{{std::move(batch), nullptr}};
    return open_blocks(plan_->output, std::move(blocks))->next();
  }

  std::shared_ptr<const GroupPlan> plan_;
  std::shared_ptr<arrow::RecordBatch> first_;
  std::vector<std::pair<std::shared_ptr<SpillFile>, int>> waiting_;
};

class GroupBy : public Barrier {
 public:
  GroupBy(std::vector<std::string> keys, std::vector<Aggregate> aggregates, const PlanContext& context)
      : key_names_(std::move(keys)), plan_(std::make_shared<GroupPlan>()) {
    if (key_names_.empty()) throw_invalid("groupby: no keys");
    plan_->aggregates = std::move(aggregates);
    plan_->max_bytes = static_cast<std::int64_t>(context.memory) / 3;
    plan_->space = std::make_shared<SpillSpace>(context.spill_directory, context.disk, "groupby");
  }

  std::string describe() const override { return fmt::format("groupby({})", fmt::join(key_names_, ", ")); }
  void open(const std::shared_ptr<arrow::Schema>& schema) override {
    plan_->input = schema;
    plan_->keys = find_key_columns(*schema, key_names_, "groupby");
    arrow::FieldVector fields;
    for (const KeyColumn& key : plan_->keys) fields.push_back(schema->field(key.position));
    const auto empty = take(arrow::RecordBatch::MakeEmpty(schema), "groupby");
    RowKeys(*empty, plan_->keys, "groupby");
    for (Aggregate& aggregate : plan_->aggregates) {
      const KeyColumn column = find_key_columns(*schema, {aggregate.column}, "groupby").front();
      plan_->positions.push_back(column.position);
      if (aggregate.name.empty()) aggregate.name = fmt::format("{}_{}", aggregate.column, aggregate.function);
      const auto& type = schema->field(column.position)->type();
      make_accumulator(aggregate, *type);
      const std::string& function = aggregate.function;
      const bool same = function == "min" || function == "max" || function == "first";
      const bool real =
          function == "mean" || function == "stddev" || (function == "sum" && arrow::is_floating(type->id()));
      fields.push_back(arrow::field(aggregate.name, same ? type : real ? arrow::float64() : arrow::int64()));
    }
    plan_->output = arrow::schema(std::move(fields));
    table_ = std::make_unique<GroupTable>(plan_, 0);
  }
  bool consume(std::unique_ptr<Prepared> prepared) override {
    table_->add(static_cast<PreparedBlock&>(*prepared).block.batch);
    return true;
  }
  std::unique_ptr<Source> result() override {
    auto first = table_->finish();
    auto files = table_->take_files();
    table_.reset();
    return std::make_unique<GroupSource>(plan_, std::move(first), std::move(files));
  }

 private:
  std::vector<std::string> key_names_;
  std::shared_ptr<GroupPlan> plan_;
  std::unique_ptr<GroupTable> table_;
};

}  // namespace

std::unique_ptr<Barrier> groupby_barrier(std::vector<std::string> keys, std::vector<Aggregate> aggregates,
                                         const PlanContext& context) {
  return std::make_unique<GroupBy>(std::move(keys), std::move(aggregates), context);
}

}  // namespace mobula::data
