#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/operators/block_operators.hpp"
#include "mobula/data/sinks/format_writer.hpp"

namespace mobula::data {
namespace {

/// Returns a row as JSON, or as much of it as can be written so.
Json row_as_json(const std::shared_ptr<arrow::RecordBatch>& batch, std::int64_t row) {
  try {
    WriteOptions options;
    options.nan_as_null = true;
    const auto format = make_jsonl_format(batch->schema(), options);
    return parse_json(format->prepare({batch->Slice(row, 1)})->text, "row");
  } catch (const Error&) {
    return nullptr;  // columns that JSON can't hold
  }
}

class MapRows : public BlockOperator {
 public:
  MapRows(MapOptions options, RowsFunction function, std::shared_ptr<BadRows> bad_rows)
      : options_(std::move(options)), function_(std::move(function)), bad_rows_(std::move(bad_rows)) {}

  std::string describe() const override { return fmt::format("map({})", options_.name); }
  bool keeps_rows() const override { return false; }
  std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) override {
    if (options_.schema == nullptr) {
      const auto empty = take(arrow::RecordBatch::MakeEmpty(input), describe());
      options_.schema = function_(empty, [](std::int64_t, const std::exception&) {})->schema();
    }
    return options_.schema;
  }
  std::shared_ptr<arrow::RecordBatch> apply(const Block& block) const override {
    const auto fail = [&](std::int64_t row, const std::exception& error) {
      if (!bad_rows_->skips()) {
        Error wrapped(ErrorCode::task_failed,
                      fmt::format("{}: {}: {}", block.describe_row(row), describe(), error.what()),
                      "set on_error: {skip: N} to leave out rows that fail");
        throw wrapped.caused_by(std::current_exception());
      }
      bad_rows_->skip(block.describe_row(row), describe(), error.what(), row_as_json(block.batch, row));
    };
    auto result = function_(block.batch, fail);
    if (result == nullptr || !result->schema()->Equals(*options_.schema)) {
      throw Error(ErrorCode::task_failed,
                  fmt::format("{}: gave other columns than ({})", describe(), options_.schema->ToString()));
    }
    return result;
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
