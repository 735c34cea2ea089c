#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/engine/spill.hpp"
#include "mobula/data/operators/barriers.hpp"
#include "mobula/data/operators/join_sides.hpp"
#include "mobula/data/operators/key_partitions.hpp"
#include "mobula/data/plan/row_tracks.hpp"
#include "mobula/data/sources/open_source.hpp"

namespace mobula::data {
namespace {

constexpr std::int64_t kIndexBytes = 96;  ///< of a row that is found by key, beside the row

JoinKind kind_of(const std::string& how) {
  static const std::map<std::string, JoinKind> kinds = {
      {"inner", JoinKind::inner}, {"left", JoinKind::left}, {"semi", JoinKind::semi}, {"anti", JoinKind::anti}};
  const auto found = kinds.find(how);
  if (found == kinds.end())
    throw_invalid(fmt::format("join: unknown kind '{}'", how), suggest(how, {"inner", "left", "semi", "anti"}));
  return found->second;
}

/// Returns what rows take in memory once they are found by key: themselves, their copy in one piece, the index.
std::int64_t table_bytes(std::int64_t bytes, std::int64_t rows) {
  return 2 * bytes + kIndexBytes * rows;
}

/// Gathers the right side in memory, or, when that is full, in files by key.
class BuildSink : public Sink {
 public:
  BuildSink(std::vector<std::string> on, std::int64_t max_bytes, std::shared_ptr<SpillSpace> space)
      : on_(std::move(on)), max_bytes_(max_bytes), space_(std::move(space)) {}
  std::string describe() const override { return fmt::format("join: right side by {}", fmt::join(on_, ", ")); }
  void open(const std::shared_ptr<arrow::Schema>& schema) override {
    schema_ = schema;
    keys_ = find_key_columns(*schema, on_, "join, right side");
    RowKeys(*take(arrow::RecordBatch::MakeEmpty(schema), "join"), keys_, "join");  // refuses types that are no keys
  }
  bool consume(std::unique_ptr<Prepared> prepared) override {
    auto batch = std::move(static_cast<PreparedBlock&>(*prepared).block.batch);
    if (partitions_ != nullptr) {
      partitions_->append(batch);
      return true;
    }
    bytes_ += table_bytes(batch_bytes(*batch), batch->num_rows());
    held_.push_back(std::move(batch));
    if (bytes_ > max_bytes_) {
      partitions_ = std::make_unique<KeyPartitions>(space_, schema_, keys_);
      for (const auto& held : held_) partitions_->append(held);
      held_.clear();
    }
    return true;
  }
  bool spilled() const { return partitions_ != nullptr; }
  const std::shared_ptr<arrow::Schema>& schema() const { return schema_; }
  std::shared_ptr<const JoinTable> table() {
    auto rows = combine_batches(held_, schema_);
    held_.clear();
    return std::make_shared<const JoinTable>(std::move(rows), keys_);
  }
  std::vector<std::shared_ptr<SpillFile>> take_files() { return partitions_->finish(); }

 private:
  std::vector<std::string> on_;
  std::int64_t max_bytes_;
  std::shared_ptr<SpillSpace> space_;
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<KeyColumn> keys_;
  std::int64_t bytes_ = 0;
  arrow::RecordBatchVector held_;
  std::unique_ptr<KeyPartitions> partitions_;
};

/// Joins block by block with a right side that is in memory.
class Probe : public BlockOperator {
 public:
  Probe(std::shared_ptr<const JoinTable> table, std::shared_ptr<arrow::Schema> right, std::vector<std::string> on,
        std::string how)
      : table_(std::move(table)), right_(std::move(right)), on_(std::move(on)), how_(std::move(how)) {}
  std::string describe() const override { return fmt::format("join({} by {})", how_, fmt::join(on_, ", ")); }
  bool keeps_rows() const override { return false; }
  std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) override {
    layout_ = std::make_unique<JoinLayout>(kind_of(how_), on_, *input, *right_);
    return layout_->schema;
  }
  void change(Block& block) const override {
    block.batch = table_->probe(block.batch, *layout_);
    block.origin = nullptr;
    block.rows = nullptr;
  }

 private:
  std::shared_ptr<const JoinTable> table_;
  std::shared_ptr<arrow::Schema> right_;
  std::vector<std::string> on_;
  std::string how_;
  std::unique_ptr<JoinLayout> layout_;
};

/// Puts the left side into files by key.
class PartitionSink : public Sink {
 public:
  PartitionSink(std::vector<std::string> on, std::shared_ptr<SpillSpace> space)
      : on_(std::move(on)), space_(std::move(space)) {}
  std::string describe() const override { return fmt::format("join: left side by {}", fmt::join(on_, ", ")); }
  void open(const std::shared_ptr<arrow::Schema>& schema) override {
    schema_ = schema;
    partitions_ = std::make_unique<KeyPartitions>(space_, schema, find_key_columns(*schema, on_, "join, left side"));
  }
  bool consume(std::unique_ptr<Prepared> prepared) override {
    partitions_->append(static_cast<PreparedBlock&>(*prepared).block.batch);
    return true;
  }
  const std::shared_ptr<arrow::Schema>& schema() const { return schema_; }
  std::vector<std::shared_ptr<SpillFile>> take_files() { return partitions_->finish(); }

 private:
  std::vector<std::string> on_;
  std::shared_ptr<SpillSpace> space_;
  std::shared_ptr<arrow::Schema> schema_;
  std::unique_ptr<KeyPartitions> partitions_;
};

/// Joins file by file. A right file that is larger than the memory (many rows of few keys) is taken in parts, and the left
/// one read once for each.
class PartitionedJoin : public Source {
 public:
  PartitionedJoin(JoinLayout layout, std::shared_ptr<arrow::Schema> right_schema,
                  std::vector<std::shared_ptr<SpillFile>> left, std::vector<std::shared_ptr<SpillFile>> right,
                  std::int64_t max_bytes)
      : layout_(std::move(layout)),
        right_schema_(std::move(right_schema)),
        left_(std::move(left)),
        right_(std::move(right)),
        max_bytes_(max_bytes) {}

  std::shared_ptr<arrow::Schema> schema() override { return layout_.schema; }
  std::string describe() const override { return fmt::format("join({} files by key)", left_.size()); }

  std::unique_ptr<Piece> next() override {
    while (true) {
      if (left_reader_ == nullptr && !next_part()) return nullptr;
      std::shared_ptr<arrow::RecordBatch> batch;
      check(left_reader_->ReadNext(&batch), "join: reading back");
      if (batch == nullptr) {
        left_reader_.reset();
        continue;
      }
      std::shared_ptr<arrow::RecordBatch> joined;
      const bool single = first_part_ && right_ended_;
      if (single || layout_.kind == JoinKind::inner) {
        joined = table_->probe(batch, layout_);
      } else {
        auto& matched = matched_[batch_index_++];
        matched.resize(static_cast<std::size_t>(batch->num_rows()));
        joined = table_->probe(batch, layout_, &matched);
        if (right_ended_) {
          const auto rest = finish_unmatched(batch, layout_, matched);
          joined = combine_batches({joined, rest}, layout_.schema);
        }
      }
      if (joined->num_rows() == 0) continue;
      std::vector<Block> block{{std::move(joined)}};
      return open_blocks(layout_.schema, std::move(block))->next();
    }
  }

 private:
  /// Loads the next part of a right file, and starts over with the left one.
  bool next_part() {
    while (right_reader_ == nullptr || right_ended_) {
      if (file_ == left_.size()) return false;
      left_file_ = std::move(left_[file_]);
      right_file_ = std::move(right_[file_]);
      ++file_;
      if (left_file_->num_rows() == 0) continue;
      right_reader_ = right_file_->read();
      check(right_reader_->ReadNext(&ahead_), "join: reading back");
      right_ended_ = false;
      first_part_ = true;
      matched_.clear();
      return load();
    }
    first_part_ = false;
    return load();
  }
  bool load() {
    arrow::RecordBatchVector rows;
    std::int64_t bytes = 0;
    while (ahead_ != nullptr) {
      bytes += table_bytes(batch_bytes(*ahead_), ahead_->num_rows());
      if (!rows.empty() && bytes > max_bytes_) break;
      rows.push_back(std::move(ahead_));
      check(right_reader_->ReadNext(&ahead_), "join: reading back");
    }
    right_ended_ = ahead_ == nullptr;
    table_ = std::make_unique<JoinTable>(combine_batches(rows, right_schema_), layout_.right_keys);
    left_reader_ = left_file_->read();
    batch_index_ = 0;
    return true;
  }

  JoinLayout layout_;
  std::shared_ptr<arrow::Schema> right_schema_;
  std::vector<std::shared_ptr<SpillFile>> left_;
  std::vector<std::shared_ptr<SpillFile>> right_;
  std::int64_t max_bytes_;
  std::size_t file_ = 0;
  std::shared_ptr<SpillFile> left_file_;
  std::shared_ptr<SpillFile> right_file_;
  std::shared_ptr<arrow::RecordBatchReader> right_reader_;
  std::shared_ptr<arrow::RecordBatch> ahead_;  ///< read from the right file, not in the table
  bool right_ended_ = false;
  bool first_part_ = true;
  std::unique_ptr<JoinTable> table_;
  std::shared_ptr<arrow::RecordBatchReader> left_reader_;
  std::size_t batch_index_ = 0;
  std::map<std::size_t, std::vector<char>> matched_;  ///< of the left file's batches, over the right file's parts
};

}  // namespace

JoinNode::JoinNode(std::shared_ptr<const PlanNode> left, std::shared_ptr<const PlanNode> right,
                   std::vector<std::string> on, std::string how)
    : left_(std::move(left)), right_(std::move(right)), on_(std::move(on)), how_(std::move(how)) {
  if (on_.empty()) throw_invalid("join: no columns to join on");
  kind_of(how_);
}

Stretch JoinNode::prepare(PlanContext& context) const {
  return context.in_order("join", [&] { return join(context); });
}

Stretch JoinNode::join(PlanContext& context) const {
  const auto max_bytes = static_cast<std::int64_t>(context.memory / 2);
  const auto space = std::make_shared<SpillSpace>(context.spill_directory, context.disk, "join");
  BuildSink build(on_, max_bytes, space);
  run_plan(*right_, build, context);
  if (!build.spilled()) {
    Stretch stretch = left_->prepare(context);
    std::unique_ptr<BlockOperator> probe = std::make_unique<Probe>(build.table(), build.schema(), on_, how_);
    if (context.tracks != nullptr) probe = track(std::move(probe), context.tracks);
    stretch.operators.push_back(std::move(probe));
    return stretch;
  }
  auto right_files = build.take_files();
  PartitionSink partition(on_, space);
  Stretch left = left_->prepare(context);
  std::vector<const StretchStatistics*> before;
  if (context.tracks == nullptr) {
    run_stretch(left, partition, context);
  } else {
    TrackedSink tracked(partition, context.tracks);
    before.push_back(&run_stretch(left, tracked, context));
  }
  JoinLayout layout(kind_of(how_), on_, *partition.schema(), *build.schema());
  std::unique_ptr<Source> joined = std::make_unique<PartitionedJoin>(
      std::move(layout), build.schema(), partition.take_files(), std::move(right_files), max_bytes);
  if (context.tracks != nullptr) joined = untrack(std::move(joined), context.tracks, std::move(before));
  return {std::move(joined), {}};
}

}  // namespace mobula::data
