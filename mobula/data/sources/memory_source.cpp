#include <arrow/array.h>
#include <arrow/array/util.h>
#include <arrow/buffer.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/sources/block_piece.hpp"
#include "mobula/data/sources/open_source.hpp"

namespace mobula::data {
namespace {

class RangePiece : public Piece {
 public:
  RangePiece(std::int64_t begin, std::int64_t end, std::shared_ptr<arrow::Schema> schema)
      : begin_(begin), end_(end), schema_(std::move(schema)) {}

  Block read() override {
    const std::int64_t rows = end_ - begin_;
    if (rows == 0) return {};
    std::shared_ptr<arrow::Buffer> values = take(arrow::AllocateBuffer(rows * 8), "range");
    auto* out = reinterpret_cast<std::int64_t*>(values->mutable_data());
    for (std::int64_t i = 0; i < rows; ++i) out[i] = begin_ + i;
    const std::int64_t first_row = std::exchange(begin_, end_);
    auto column = arrow::MakeArray(arrow::ArrayData::Make(arrow::int64(), rows, {nullptr, std::move(values)}, 0));
    static const auto origin = std::make_shared<NumberedRows>(std::make_shared<const std::string>("range"));
    Block block{arrow::RecordBatch::Make(schema_, rows, {std::move(column)}), nullptr, origin};
    block.first_row = first_row;
    return block;
  }

 private:
  std::int64_t begin_;
  std::int64_t end_;
  std::shared_ptr<arrow::Schema> schema_;
};

class RangeSource : public Source {
 public:
  RangeSource(std::int64_t rows, std::int64_t rows_per_block)
      : rows_(rows),
        rows_per_block_(rows_per_block),
        schema_(arrow::schema({arrow::field("id", arrow::int64(), false)})) {}

  std::shared_ptr<arrow::Schema> schema() override { return schema_; }
  std::unique_ptr<Piece> next() override {
    if (next_ >= rows_) return nullptr;
    const std::int64_t begin = next_;
    next_ = std::min(rows_, begin + rows_per_block_);
    return std::make_unique<RangePiece>(begin, next_, schema_);
  }
  std::string describe() const override { return fmt::format("range({})", rows_); }
  std::vector<PiecePlace> places() override {
    std::vector<PiecePlace> places;
    const auto rows = static_cast<std::uint64_t>(rows_);
    const auto step = static_cast<std::uint64_t>(rows_per_block_);
    for (std::uint64_t begin = 0; begin < rows; begin += step) {
      const std::uint64_t end = std::min(rows, begin + step);
      places.push_back({0, begin, end, end - begin});
    }
    return places;
  }
  std::unique_ptr<Piece> open(const PiecePlace& place) const override {
    return std::make_unique<RangePiece>(static_cast<std::int64_t>(place.begin), static_cast<std::int64_t>(place.end),
                                        schema_);
  }
  std::int64_t num_rows() override { return rows_; }

 private:
  std::int64_t rows_;
  std::int64_t rows_per_block_;
  std::int64_t next_ = 0;
  std::shared_ptr<arrow::Schema> schema_;
};

class BlockSource : public Source {
 public:
  BlockSource(std::shared_ptr<arrow::Schema> schema, std::vector<Block> blocks)
      : schema_(std::move(schema)), blocks_(std::move(blocks)) {}

  std::shared_ptr<arrow::Schema> schema() override { return schema_; }
  std::unique_ptr<Piece> next() override {
    if (next_ >= blocks_.size()) return nullptr;
    return std::make_unique<BlockPiece>(std::move(blocks_[next_++]));
  }
  std::string describe() const override { return fmt::format("blocks({})", blocks_.size()); }
  std::vector<PiecePlace> places() override {
    std::vector<PiecePlace> places;
    for (std::size_t i = 0; i < blocks_.size(); ++i)
      places.push_back({0, i, i + 1, static_cast<std::uint64_t>(blocks_[i].batch->num_rows())});
    return places;
  }
  std::unique_ptr<Piece> open(const PiecePlace& place) const override {
    return std::make_unique<BlockPiece>(blocks_[place.begin]);
  }

 private:
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<Block> blocks_;
  std::size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Source> open_range(std::int64_t rows, std::int64_t rows_per_block) {
  return std::make_unique<RangeSource>(rows, rows_per_block);
}

std::unique_ptr<Source> open_blocks(std::shared_ptr<arrow::Schema> schema, std::vector<Block> blocks) {
  return std::make_unique<BlockSource>(std::move(schema), std::move(blocks));
}

}  // namespace mobula::data
