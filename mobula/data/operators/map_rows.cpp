#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/operators/block_operators.hpp"
#include "mobula/data/operators/failing_rows.hpp"
#include "mobula/data/rows/row_numbers.hpp"

namespace mobula::data {
namespace {

class MapRows : public BlockOperator {
 public:
  MapRows(MapOptions options, RowsFunction function, std::shared_ptr<BadRows> bad_rows)
      : options_(std::move(options)), function_(std::move(function)), bad_rows_(std::move(bad_rows)) {}

  std::string describe() const override { return fmt::format("map({})", options_.name); }
  bool keeps_rows() const override { return options_.keeps_rows; }
  std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) override {
    if (options_.schema == nullptr) {
      const auto empty = take(arrow::RecordBatch::MakeEmpty(input), describe());
      auto result = function_(empty, [](std::int64_t, const std::exception&) {});
      take_row_numbers(result);
      options_.schema = result->schema();
    }
    return options_.schema;
  }
  void change(Block& block) const override {
    std::vector<std::int64_t> failed;
    auto result = function_(block.batch, [&](std::int64_t row, const std::exception& error) {
      fail_row(block, row, describe(), error, *bad_rows_);
      failed.push_back(row);
    });
    std::optional<std::vector<std::int64_t>> from;
    if (result != nullptr) from = take_row_numbers(result);
    if (result == nullptr || !result->schema()->Equals(*options_.schema)) {
      throw Error(ErrorCode::task_failed,
                  fmt::format("{}: gave other columns than ({})", describe(), options_.schema->ToString()));
    }
    const std::int64_t num_kept = block.batch->num_rows() - static_cast<std::int64_t>(failed.size());
    if (options_.keeps_rows && result->num_rows() == num_kept) {
      if (!failed.empty()) block.pick(rows_without(failed, block.batch->num_rows()), describe());
      block.batch = std::move(result);
      return;
    }
    // As many rows may come out of other ones: without their numbers nothing is known of them.
    if (!from) block.origin = nullptr;
    block.replace(std::move(result), from);
    if (!from) block.rows = nullptr;
  }

 private:
  MapOptions options_;
  RowsFunction function_;
  std::shared_ptr<BadRows> bad_rows_;
};

}  // namespace

std::unique_ptr<BlockOperator> map_rows_operator(MapOptions options, RowsFunction function,
                                                 std::shared_ptr<BadRows> bad_rows) {
  return std::make_unique<MapRows>(std::move(options), std::move(function), std::move(bad_rows));
}

}  // namespace mobula::data
