#include <arrow/array.h>
#include <arrow/array/util.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <functional>
#include <string>
#include <unordered_map>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/row_keys.hpp"
#include "mobula/data/blocks/take_rows.hpp"
#include "mobula/data/engine/spill.hpp"
#include "mobula/data/operators/accumulators.hpp"
#include "mobula/data/operators/barriers.hpp"
#include "mobula/data/sources/open_source.hpp"

namespace mobula::data {
namespace {

constexpr std::size_t kNumFiles = 16;
constexpr int kMaxDepth = 6;  ///< of partitions inside partitions

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
      key_rows_.push_back(take_rows(take(batch->SelectColumns(positions), "groupby"), first_rows, "groupby"));
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
      if (!spilled[i].empty()) files_[i]->append(take_rows(batch, spilled[i], "groupby"));
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
