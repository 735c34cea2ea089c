#include "mobula/data/plan/row_ranges.hpp"

#include <arrow/array/builder_primitive.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "mobula/base/testing/refusal.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/sources/block_piece.hpp"

namespace mobula::data {
namespace {

/// A file of two pieces of five rows each, of which the second has lost some since they were counted.
class ShrunkSource : public Source {
 public:
  explicit ShrunkSource(std::int64_t rows_left) : rows_left_(rows_left) {}
  std::shared_ptr<arrow::Schema> schema() override { return arrow::schema({arrow::field("id", arrow::int64())}); }
  std::unique_ptr<Piece> next() override { return nullptr; }
  std::string describe() const override { return "numbers(1 file)"; }
  std::vector<std::string> files() const override { return {"numbers.txt"}; }
  std::vector<PiecePlace> places() override { return {{.begin = 0, .rows = 5}, {.begin = 5, .rows = 5}}; }
  std::unique_ptr<Piece> open(const PiecePlace& place) const override {
    arrow::Int64Builder builder;
    const std::int64_t rows = place.begin == 0 ? 5 : rows_left_;
    for (std::int64_t i = 0; i < rows; ++i)
      EXPECT_TRUE(builder.Append(static_cast<std::int64_t>(place.begin) + i).ok());
    return std::make_unique<BlockPiece>(Block{arrow::RecordBatch::Make(
        arrow::schema({arrow::field("id", arrow::int64())}), rows, {take(builder.Finish(), "numbers")})});
  }

 private:
  std::int64_t rows_left_;
};

std::int64_t count(Source& source) {
  std::int64_t rows = 0;
  while (const auto piece = source.next()) {
    for (Block block = piece->read(); block.batch != nullptr; block = piece->read()) rows += block.batch->num_rows();
  }
  return rows;
}

TEST(RowRanges, RefuseAPieceWithFewerRowsThanWereCounted) {
  RowRanges whole, shrunk, emptied;
  ASSERT_TRUE(whole.open_by_number([] { return std::make_unique<ShrunkSource>(5); }));
  ASSERT_TRUE(shrunk.open_by_number([] { return std::make_unique<ShrunkSource>(3); }));
  ASSERT_TRUE(emptied.open_by_number([] { return std::make_unique<ShrunkSource>(0); }));
  EXPECT_EQ(count(*whole.range(3, 9)), 6);
  EXPECT_EQ(count(*whole.range(8, 20)), 2);
  EXPECT_EQ(count(*shrunk.range(0, 8)), 8);  // what is gone is not of this range
  EXPECT_EQ(refusal([&] { count(*shrunk.range(6, 10)); }),
            "numbers.txt: has changed since its rows were counted: 2 of 5 are gone");
  EXPECT_EQ(refusal([&] { count(*emptied.range(5, 8)); }),
            "numbers.txt: has changed since its rows were counted: 3 of 3 are gone");
}

}  // namespace
}  // namespace mobula::data
