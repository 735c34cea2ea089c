#include <arrow/array.h>
#include <arrow/array/builder_binary.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <queue>
#include <span>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/row_keys.hpp"
#include "mobula/data/blocks/take_rows.hpp"
#include "mobula/data/engine/spill.hpp"
#include "mobula/data/operators/barriers.hpp"
#include "mobula/data/sources/open_source.hpp"

namespace mobula::data {
namespace {

constexpr std::int64_t kRowsPerBlock = 1 << 15;

/// Returns the order of keys. The first eight bytes decide most comparisons.
std::vector<std::uint32_t> sorted_order(const RowKeys& keys) {
  struct Entry {
    std::uint64_t prefix;
    std::uint32_t row;
  };
  std::vector<Entry> entries(keys.size());
  for (std::size_t row = 0; row < keys.size(); ++row) {
    std::uint64_t prefix = 0;
    const std::string_view key = keys[row];
    // The first byte tells a null: the value starts behind it.
    std::memcpy(&prefix, key.data(), std::min<std::size_t>(key.size(), 8));
    if constexpr (std::endian::native == std::endian::little) prefix = __builtin_bswap64(prefix);
    entries[row] = {prefix, static_cast<std::uint32_t>(row)};
  }
  std::sort(entries.begin(), entries.end(), [&keys](const Entry& a, const Entry& b) {
    if (a.prefix != b.prefix) return a.prefix < b.prefix;
    const int order = keys[a.row].compare(keys[b.row]);
    return order != 0 ? order < 0 : a.row < b.row;
  });
  std::vector<std::uint32_t> rows(entries.size());
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = entries[i].row;
  return rows;
}

/// Merges sorted runs; the last column of each holds the keys.
class MergeSource : public Source {
 public:
  MergeSource(std::shared_ptr<arrow::Schema> schema, std::vector<std::shared_ptr<SpillFile>> files)
      : schema_(std::move(schema)), files_(std::move(files)) {}

  std::shared_ptr<arrow::Schema> schema() override { return schema_; }
  std::string describe() const override { return fmt::format("merge({} runs)", files_.size()); }

  std::unique_ptr<Piece> next() override {
    if (runs_.empty()) {
      for (const auto& file : files_) {
        runs_.push_back({file->read(), nullptr, nullptr, 0, 0});
        if (advance(runs_.size() - 1)) heap_.push(runs_.size() - 1);
      }
    }
    // A run gives rows one after the other: what it gives to this block is one stretch of it, so that the block is all
    // stretches in one piece, put in order at once.
    std::vector<std::size_t> from;  // the run of each row
    std::vector<arrow::RecordBatchVector> stretches(runs_.size());
    while (!heap_.empty() && from.size() < static_cast<std::size_t>(kRowsPerBlock)) {
      const std::size_t index = heap_.top();
      heap_.pop();
      Run& run = runs_[index];
      do {
        ++run.row;
        from.push_back(index);
      } while (run.row < run.batch->num_rows() && (heap_.empty() || !Later{this}(index, heap_.top())));
      const bool ended = run.row == run.batch->num_rows();
      if (ended) stretches[index].push_back(run.batch->Slice(run.first));
      if (!ended || advance(index)) heap_.push(index);
    }
    if (from.empty()) return nullptr;
    arrow::RecordBatchVector parts;
    std::vector<std::uint32_t> next_row(runs_.size());
    std::uint32_t num_rows = 0;
    for (std::size_t index = 0; index < runs_.size(); ++index) {
      Run& run = runs_[index];
      if (run.batch != nullptr && run.row > run.first) {
        stretches[index].push_back(run.batch->Slice(run.first, run.row - run.first));
        run.first = run.row;
      }
      next_row[index] = num_rows;
      for (auto& stretch : stretches[index]) {
        num_rows += static_cast<std::uint32_t>(stretch->num_rows());
        parts.push_back(take(stretch->RemoveColumn(stretch->num_columns() - 1), "sort"));
      }
    }
    std::vector<std::uint32_t> order(from.size());
    for (std::size_t i = 0; i < from.size(); ++i) order[i] = next_row[from[i]]++;
    std::vector<Block> block{{take_rows(combine_batches(parts, schema_), order, "sort"), nullptr}};
    return open_blocks(schema_, std::move(block))->next();
  }

 private:
  struct Run {
    std::shared_ptr<arrow::RecordBatchReader> reader;
    std::shared_ptr<arrow::RecordBatch> batch;
    std::shared_ptr<arrow::LargeBinaryArray> keys;
    std::int64_t row;    ///< the next one
    std::int64_t first;  ///< of the batch that no block has yet
  };
  struct Later {
    const MergeSource* merge;
    bool operator()(std::size_t a, std::size_t b) const {
      const Run& x = merge->runs_[a];
      const Run& y = merge->runs_[b];
      const int order = x.keys->GetView(x.row).compare(y.keys->GetView(y.row));
      return order != 0 ? order > 0 : a > b;
    }
  };

  bool advance(std::size_t index) {
    Run& run = runs_[index];
    check(run.reader->ReadNext(&run.batch), "sort: reading back");
    if (run.batch == nullptr) return false;
    run.keys = std::static_pointer_cast<arrow::LargeBinaryArray>(run.batch->column(run.batch->num_columns() - 1));
    run.row = 0;
    run.first = 0;
    return true;
  }

  std::shared_ptr<arrow::Schema> schema_;
  std::vector<std::shared_ptr<SpillFile>> files_;
  std::vector<Run> runs_;
  std::priority_queue<std::size_t, std::vector<std::size_t>, Later> heap_{Later{this}};
};

class Sort : public Barrier {
 public:
  Sort(std::vector<SortKey> keys, const PlanContext& context)
      : keys_(std::move(keys)),
        // Rows, their keys, and the sorted copy are there together.
        max_bytes_(std::min<std::int64_t>(static_cast<std::int64_t>(context.memory) / 5, std::int64_t{1} << 30)),
        space_(std::make_shared<SpillSpace>(context.spill_directory, context.disk, "sort")) {
    if (keys_.empty()) throw_invalid("sort: no keys");
  }

  std::string describe() const override {
    std::string text;
    for (const SortKey& key : keys_)
      text += fmt::format("{}{}{}", text.empty() ? "" : ", ", key.descending ? "-" : "", key.column);
    return fmt::format("sort({})", text);
  }
  void open(const std::shared_ptr<arrow::Schema>& schema) override {
    schema_ = schema;
    for (const SortKey& key : keys_) {
      columns_.push_back(find_key_columns(*schema, {key.column}, "sort").front());
      columns_.back().descending = key.descending;
    }
    // Refuses types without order.
    const RowKeys tried(*take(arrow::RecordBatch::MakeEmpty(schema), "sort"), columns_, "sort");
    run_schema_ = take(schema->AddField(schema->num_fields(), arrow::field("key", arrow::large_binary())), "sort");
  }
  bool consume(std::unique_ptr<Prepared> prepared) override {
    auto batch = std::move(static_cast<PreparedBlock&>(*prepared).block.batch);
    held_bytes_ += batch_bytes(*batch);
    held_.push_back(std::move(batch));
    if (held_bytes_ > max_bytes_) spill();
    return true;
  }
  void finish() override {
    if (!files_.empty()) spill();
  }
  std::unique_ptr<Source> result() override {
    if (!files_.empty()) return std::make_unique<MergeSource>(schema_, std::move(files_));
    const auto rows = combine_batches(held_, schema_);
    held_.clear();
    const auto order = sorted_order(RowKeys(*rows, columns_, "sort"));
    std::vector<Block> blocks;
    for (std::size_t begin = 0; begin < order.size(); begin += kRowsPerBlock) {
      const std::size_t end = std::min(order.size(), begin + static_cast<std::size_t>(kRowsPerBlock));
      blocks.push_back({take_rows(rows, std::span(order).subspan(begin, end - begin), "sort"), nullptr});
    }
    return open_blocks(schema_, std::move(blocks));
  }

 private:
  /// Writes what is held as one sorted run.
  void spill() {
    if (held_.empty()) return;
    const auto rows = combine_batches(held_, schema_);
    held_.clear();
    held_bytes_ = 0;
    const RowKeys keys(*rows, columns_, "sort");
    const auto order = sorted_order(keys);
    auto file = std::make_shared<SpillFile>(space_, run_schema_);
    constexpr std::size_t kRunBatch = 4096;  // what a merge holds of each run
    for (std::size_t begin = 0; begin < order.size(); begin += kRunBatch) {
      const std::size_t end = std::min(order.size(), begin + kRunBatch);
      arrow::LargeBinaryBuilder key_column;
      for (std::size_t i = begin; i < end; ++i) check(key_column.Append(keys[order[i]]), "sort");
      auto columns = take_rows(rows, std::span(order).subspan(begin, end - begin), "sort")->columns();
      columns.push_back(take(key_column.Finish(), "sort"));
      file->append(arrow::RecordBatch::Make(run_schema_, static_cast<std::int64_t>(end - begin), std::move(columns)));
    }
    file->finish();
    files_.push_back(std::move(file));
  }

  std::vector<SortKey> keys_;
  std::int64_t max_bytes_;
  std::shared_ptr<SpillSpace> space_;
  std::shared_ptr<arrow::Schema> schema_;
  std::shared_ptr<arrow::Schema> run_schema_;
  std::vector<KeyColumn> columns_;
  arrow::RecordBatchVector held_;
  std::int64_t held_bytes_ = 0;
  std::vector<std::shared_ptr<SpillFile>> files_;
};

}  // namespace

std::unique_ptr<Barrier> sort_barrier(std::vector<SortKey> keys, const PlanContext& context) {
  return std::make_unique<Sort>(std::move(keys), context);
}

}  // namespace mobula::data
