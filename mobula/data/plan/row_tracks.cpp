#include "mobula/data/plan/row_tracks.hpp"

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/sources/block_piece.hpp"

namespace mobula::data {
namespace {

constexpr const char* kColumn = "mobula: row's origin";
constexpr int kRowBits = 40;  ///< of a number; those above tell the block
constexpr std::uint64_t kRowMask = (std::uint64_t{1} << kRowBits) - 1;
constexpr std::size_t kMaxEntries = std::size_t{1} << (64 - kRowBits);

/// Rows of many blocks.
class MixedRows : public RowOrigin {
 public:
  MixedRows(std::shared_ptr<const RowTracks> tracks, std::shared_ptr<arrow::UInt64Array> numbers)
      : tracks_(std::move(tracks)), numbers_(std::move(numbers)) {}
  std::string describe(std::int64_t row) const override { return tracks_->describe(number(row)); }
  bool mixes_files() const override { return true; }
  const std::string* file(std::int64_t row) const override { return tracks_->file(number(row)); }
  std::uint64_t number(std::int64_t row) const { return numbers_->Value(row); }
  const RowTracks* tracks() const { return tracks_.get(); }

 private:
  std::shared_ptr<const RowTracks> tracks_;
  std::shared_ptr<arrow::UInt64Array> numbers_;
};

/// Gives another source's rows with the column, or without it.
class TrackedSource : public Source {
 public:
  using ChangeSchema = std::shared_ptr<arrow::Schema> (*)(const std::shared_ptr<arrow::Schema>& schema);
  using ChangeBlock = void (RowTracks::*)(Block& block);
  TrackedSource(std::unique_ptr<Source> source, std::shared_ptr<RowTracks> tracks, ChangeSchema change_schema,
                ChangeBlock change_block, std::vector<const StretchStatistics*> handed_on_by)
      : source_(std::move(source)),
        tracks_(std::move(tracks)),
        change_schema_(change_schema),
        change_block_(change_block),
        handed_on_by_(std::move(handed_on_by)) {}
  std::shared_ptr<arrow::Schema> schema() override { return change_schema_(source_->schema()); }
  std::unique_ptr<Piece> next() override {
    auto piece = source_->next();
    if (piece == nullptr) return nullptr;
    return std::make_unique<ChangedPiece>(
        std::move(piece), [tracks = tracks_, change = change_block_](Block& block) { (*tracks.*change)(block); });
  }
  std::string describe() const override { return source_->describe(); }
  std::vector<const StretchStatistics*> handed_on_by() const override { return handed_on_by_; }

 private:
  std::unique_ptr<Source> source_;
  std::shared_ptr<RowTracks> tracks_;
  ChangeSchema change_schema_;
  ChangeBlock change_block_;
  std::vector<const StretchStatistics*> handed_on_by_;
};

class TrackedOperator : public BlockOperator {
 public:
  TrackedOperator(std::unique_ptr<BlockOperator> op, std::shared_ptr<RowTracks> tracks)
      : op_(std::move(op)), tracks_(std::move(tracks)) {}
  std::string describe() const override { return op_->describe(); }
  bool keeps_rows() const override { return op_->keeps_rows(); }
  std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) override {
    return RowTracks::remove_column(op_->bind(RowTracks::add_column(input)));
  }
  void change(Block& block) const override {
    tracks_->add_to(block);
    op_->change(block);
    tracks_->take_from(block);
  }

 private:
  std::unique_ptr<BlockOperator> op_;
  std::shared_ptr<RowTracks> tracks_;
};

}  // namespace

std::shared_ptr<arrow::Schema> RowTracks::add_column(const std::shared_ptr<arrow::Schema>& schema) {
  return take(schema->AddField(schema->num_fields(), arrow::field(kColumn, arrow::uint64(), false)), "rows' origin");
}

std::shared_ptr<arrow::Schema> RowTracks::remove_column(const std::shared_ptr<arrow::Schema>& schema) {
  return take(schema->RemoveField(schema->GetFieldIndex(kColumn)), "rows' origin");
}

void RowTracks::add_to(Block& block) {
  const std::int64_t num_rows = block.batch->num_rows();
  std::vector<std::uint64_t> numbers(static_cast<std::size_t>(num_rows));
  const auto* mixed = dynamic_cast<const MixedRows*>(block.origin.get());
  if (mixed != nullptr && mixed->tracks() == this) {
    for (std::int64_t row = 0; row < num_rows; ++row)
      numbers[static_cast<std::size_t>(row)] = mixed->number(block.number_of(row));
  } else if (num_rows > 0 && (block.file != nullptr || block.origin != nullptr)) {
    std::uint64_t entry = 0;
    {
      const std::lock_guard lock(mutex_);
      entries_.push_back({block.file, block.origin});
      entry = entries_.size();
    }
    if (entry >= kMaxEntries)
      throw Error(ErrorCode::resource, fmt::format("rows' origins: more than {} blocks were read", kMaxEntries),
                  "run without a manifest and a dead-letter file");
    for (std::int64_t row = 0; row < num_rows; ++row) {
      const std::int64_t number = block.origin == nullptr ? 0 : block.number_of(row);
      numbers[static_cast<std::size_t>(row)] = entry << kRowBits | (static_cast<std::uint64_t>(number) & kRowMask);
    }
  }
  auto column = std::make_shared<arrow::UInt64Array>(num_rows, arrow::Buffer::FromVector(std::move(numbers)));
  arrow::ArrayVector columns = block.batch->columns();
  columns.push_back(std::move(column));
  block.batch = arrow::RecordBatch::Make(add_column(block.batch->schema()), num_rows, std::move(columns));
}

void RowTracks::take_from(Block& block) {
  const int position = block.batch->schema()->GetFieldIndex(kColumn);
  auto numbers = std::static_pointer_cast<arrow::UInt64Array>(block.batch->column(position));
  block.batch = take(block.batch->RemoveColumn(position), "rows' origin");
  block.file = nullptr;
  block.origin = std::make_shared<MixedRows>(shared_from_this(), std::move(numbers));
  block.rows = nullptr;
  block.first_row = 0;
}

const RowTracks::Entry* RowTracks::entry(std::uint64_t number) const {
  const std::lock_guard lock(mutex_);
  const std::uint64_t entry = number >> kRowBits;
  return entry == 0 ? nullptr : &entries_[entry - 1];
}

const std::string* RowTracks::file(std::uint64_t number) const {
  const Entry* from = entry(number);
  if (from == nullptr) return nullptr;
  if (from->file == nullptr && from->origin != nullptr && from->origin->mixes_files())
    return from->origin->file(static_cast<std::int64_t>(number & kRowMask));
  return from->file.get();
}

std::string RowTracks::describe(std::uint64_t number) const {
  const Entry* from = entry(number);
  if (from == nullptr) return "a row that no file holds";
  if (from->origin != nullptr) return from->origin->describe(static_cast<std::int64_t>(number & kRowMask));
  return *from->file;
}

std::unique_ptr<Source> track(std::unique_ptr<Source> source, std::shared_ptr<RowTracks> tracks) {
  return std::make_unique<TrackedSource>(std::move(source), std::move(tracks), &RowTracks::add_column,
                                         &RowTracks::add_to, std::vector<const StretchStatistics*>());
}

std::unique_ptr<Source> untrack(std::unique_ptr<Source> source, std::shared_ptr<RowTracks> tracks,
                                std::vector<const StretchStatistics*> handed_on_by) {
  return std::make_unique<TrackedSource>(std::move(source), std::move(tracks), &RowTracks::remove_column,
                                         &RowTracks::take_from, std::move(handed_on_by));
}

std::unique_ptr<BlockOperator> track(std::unique_ptr<BlockOperator> op, std::shared_ptr<RowTracks> tracks) {
  return std::make_unique<TrackedOperator>(std::move(op), std::move(tracks));
}

}  // namespace mobula::data
