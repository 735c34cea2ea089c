#include "mobula/data/plan/zip_source.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>

#include "mobula/base/error.hpp"
#include "mobula/data/sources/open_source.hpp"

namespace mobula::data {
namespace {

/// One side: its blocks, one after the other, in parts.
class Side {
 public:
  explicit Side(std::unique_ptr<Source> source) : source_(std::move(source)) {}

  Source& source() const { return *source_; }
  /// Returns the rows that are at hand, at least one unless the side has ended.
  std::int64_t available() {
    while (left() == 0) {
      if (piece_ == nullptr && (piece_ = source_->next()) == nullptr) return 0;
      block_ = piece_->read();
      used_ = 0;
      if (block_.batch == nullptr) piece_.reset();
    }
    return left();
  }
  std::shared_ptr<arrow::RecordBatch> take(std::int64_t rows) {
    auto batch = block_.batch->Slice(used_, rows);
    used_ += rows;
    rows_ += rows;
    return batch;
  }
  std::int64_t rows() const { return rows_; }
  /// Counts all rows that are still to come.
  std::int64_t rest() {
    std::int64_t rest = 0;
    while (const std::int64_t some = available()) {
      take(some);
      rest += some;
    }
    return rest;
  }

 private:
  std::int64_t left() const { return block_.batch == nullptr ? 0 : block_.batch->num_rows() - used_; }

  std::unique_ptr<Source> source_;
  std::unique_ptr<Piece> piece_;
  Block block_;
  std::int64_t used_ = 0;
  std::int64_t rows_ = 0;
};

class ZipSource : public Source {
 public:
  ZipSource(std::unique_ptr<Source> left, std::unique_ptr<Source> right)
      : left_(std::move(left)), right_(std::move(right)) {}

  std::shared_ptr<arrow::Schema> schema() override {
    if (schema_ != nullptr) return schema_;
    arrow::FieldVector fields = left_.source().schema()->fields();
    for (const auto& field : right_.source().schema()->fields()) {
      if (left_.source().schema()->GetFieldIndex(field->name()) >= 0)
        throw_invalid(fmt::format("zip: both sides have a column '{}'", field->name()), "rename one of them first");
      fields.push_back(field);
    }
    schema_ = arrow::schema(std::move(fields));
    return schema_;
  }
  std::unique_ptr<Piece> next() override {
    schema();
    const std::int64_t rows = std::min(left_.available(), right_.available());
    if (rows == 0) {
      const std::int64_t left = left_.rows() + left_.rest();
      const std::int64_t right = right_.rows() + right_.rest();
      if (left != right)
        throw_invalid(fmt::format("zip: {} rows on the left and {} on the right", left, right),
                      "limit the longer one first");
      return nullptr;
    }
    arrow::ArrayVector columns = left_.take(rows)->columns();
    const auto right = right_.take(rows);
    for (const auto& column : right->columns()) columns.push_back(column);
    std::vector<Block> block{{arrow::RecordBatch::Make(schema_, rows, std::move(columns))}};
    return open_blocks(schema_, std::move(block))->next();
  }
  std::string describe() const override {
    return fmt::format("zip({}, {})", left_.source().describe(), right_.source().describe());
  }

 private:
  Side left_;
  Side right_;
  std::shared_ptr<arrow::Schema> schema_;
};

}  // namespace

std::unique_ptr<Source> zip_source(std::unique_ptr<Source> left, std::unique_ptr<Source> right) {
  return std::make_unique<ZipSource>(std::move(left), std::move(right));
}

}  // namespace mobula::data
