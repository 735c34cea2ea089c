#include <arrow/array.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/compute/api_vector.h>
#include <arrow/datum.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <unordered_map>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/base/size.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/row_keys.hpp"
#include "mobula/data/engine/spill.hpp"
#include "mobula/data/operators/barriers.hpp"

namespace mobula::data {
namespace {

const std::vector<std::string> kKinds = {"inner", "left", "semi", "anti"};

/// The right side: its rows, and which of them have a key. Rows with a null in their key match nothing.
struct BuildSide {
  std::shared_ptr<arrow::RecordBatch> rows;
  std::vector<KeyColumn> keys;
  std::vector<int> kept;  ///< columns that come out: all but the keys
  std::unordered_multimap<std::string, std::int64_t> index;
};

bool has_null_key(const arrow::RecordBatch& batch, const std::vector<KeyColumn>& keys, std::int64_t row) {
  return std::any_of(keys.begin(), keys.end(),
                     [&](const KeyColumn& key) { return batch.column(key.position)->IsNull(row); });
}

/// Gathers the right side.
class BuildSink : public Sink {
 public:
  BuildSink(std::vector<std::string> on, std::uint64_t memory) : on_(std::move(on)), memory_(memory) {}
  std::string describe() const override { return fmt::format("join: right side by {}", fmt::join(on_, ", ")); }
  void open(const std::shared_ptr<arrow::Schema>& schema) override {
    schema_ = schema;
    side_->keys = find_key_columns(*schema, on_, "join, right side");
  }
  bool consume(std::unique_ptr<Prepared> prepared) override {
    auto batch = std::move(static_cast<PreparedBlock&>(*prepared).block.batch);
    // Besides the rows: their copy in one piece, and an index entry each.
    bytes_ += 2 * batch_bytes(*batch) + 96 * batch->num_rows();
    if (static_cast<std::uint64_t>(bytes_) > memory_) {
      throw Error(ErrorCode::resource,
                  fmt::format("join: the right side needs more than {} of memory", format_size(memory_)),
                  "raise `memory`, or put the smaller side on the right");
    }
    held_.push_back(std::move(batch));
    return true;
  }
  void finish() override {
    side_->rows = combine_batches(held_, schema_);
    held_.clear();
    const RowKeys keys(*side_->rows, side_->keys, "join");
    side_->index.reserve(keys.size());
    // Equal keys come out last in, first out: backwards gives the order of the rows.
    for (std::size_t row = keys.size(); row-- > 0;) {
      const auto at = static_cast<std::int64_t>(row);
      if (!has_null_key(*side_->rows, side_->keys, at)) side_->index.emplace(keys[row], at);
    }
    for (int i = 0; i < schema_->num_fields(); ++i) {
      const bool is_key =
          std::any_of(side_->keys.begin(), side_->keys.end(), [i](const KeyColumn& key) { return key.position == i; });
      if (!is_key) side_->kept.push_back(i);
    }
  }
  std::shared_ptr<const BuildSide> side() const { return side_; }

 private:
  std::vector<std::string> on_;
  std::uint64_t memory_;
  std::int64_t bytes_ = 0;
  std::shared_ptr<arrow::Schema> schema_;
  arrow::RecordBatchVector held_;
  std::shared_ptr<BuildSide> side_ = std::make_shared<BuildSide>();
};

class Probe : public BlockOperator {
 public:
  Probe(std::shared_ptr<const BuildSide> side, std::vector<std::string> on, std::string how)
      : side_(std::move(side)), on_(std::move(on)), how_(std::move(how)) {}
  std::string describe() const override { return fmt::format("join({} by {})", how_, fmt::join(on_, ", ")); }
  std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) override {
    keys_ = find_key_columns(*input, on_, "join, left side");
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      const auto& left = input->field(keys_[i].position)->type();
      const auto& right = side_->rows->schema()->field(side_->keys[i].position)->type();
      if (!left->Equals(*right)) {
        throw_invalid(fmt::format("join: column '{}' is {} on the left and {} on the right", on_[i], left->ToString(),
                                  right->ToString()),
                      "cast one of them first");
      }
    }
    arrow::FieldVector fields = input->fields();
    if (how_ == "inner" || how_ == "left") {
      for (const int position : side_->kept) {
        const auto& field = side_->rows->schema()->field(position);
        if (input->GetFieldIndex(field->name()) >= 0)
          throw_invalid(fmt::format("join: both sides have a column '{}'", field->name()), "rename one of them first");
        fields.push_back(field->WithNullable(true));
      }
    }
    schema_ = arrow::schema(std::move(fields));
    return schema_;
  }
  std::shared_ptr<arrow::RecordBatch> apply(const Block& block) const override {
    const RowKeys keys(*block.batch, keys_, "join");
    arrow::Int64Builder left_rows;
    arrow::Int64Builder right_rows;
    std::string key;
    for (std::int64_t row = 0; row < block.batch->num_rows(); ++row) {
      auto [first, last] = std::pair{side_->index.end(), side_->index.end()};
      if (!has_null_key(*block.batch, keys_, row)) {
        key.assign(keys[static_cast<std::size_t>(row)]);
        std::tie(first, last) = side_->index.equal_range(key);
      }
      const bool matched = first != last;
      if (how_ == "semi" || how_ == "anti") {
        if (matched == (how_ == "semi")) check(left_rows.Append(row), "join");
        continue;
      }
      if (!matched && how_ == "left") {
        check(left_rows.Append(row), "join");
        check(right_rows.AppendNull(), "join");
      }
      std::vector<std::int64_t> matches;
      for (; first != last; ++first) matches.push_back(first->second);
      std::sort(matches.begin(), matches.end());
      for (const std::int64_t match : matches) {
        check(left_rows.Append(row), "join");
        check(right_rows.Append(match), "join");
      }
    }
    auto columns =
        take(arrow::compute::Take(block.batch, take(left_rows.Finish(), "join")), "join").record_batch()->columns();
    const auto num_rows = columns.empty() ? 0 : columns.front()->length();
    if (how_ == "inner" || how_ == "left") {
      const auto right = take(side_->rows->SelectColumns(side_->kept), "join");
      const auto taken = take(arrow::compute::Take(right, take(right_rows.Finish(), "join")), "join").record_batch();
      for (const auto& column : taken->columns()) columns.push_back(column);
    }
    return arrow::RecordBatch::Make(schema_, num_rows, std::move(columns));
  }

 private:
  std::shared_ptr<const BuildSide> side_;
  std::vector<std::string> on_;
  std::string how_;
  std::vector<KeyColumn> keys_;
  std::shared_ptr<arrow::Schema> schema_;
};

}  // namespace

JoinNode::JoinNode(std::shared_ptr<const PlanNode> left, std::shared_ptr<const PlanNode> right,
                   std::vector<std::string> on, std::string how)
    : left_(std::move(left)), right_(std::move(right)), on_(std::move(on)), how_(std::move(how)) {
  if (on_.empty()) throw_invalid("join: no columns to join on");
  if (std::find(kKinds.begin(), kKinds.end(), how_) == kKinds.end())
    throw_invalid(fmt::format("join: unknown kind '{}'", how_), suggest(how_, kKinds));
}

Stretch JoinNode::prepare(PlanContext& context) const {
  BuildSink build(on_, context.memory);
  run_plan(*right_, build, context);
  Stretch stretch = left_->prepare(context);
  stretch.operators.push_back(std::make_unique<Probe>(build.side(), on_, how_));
  return stretch;
}

}  // namespace mobula::data
