#include <arrow/array.h>
#include <arrow/array/array_primitive.h>
#include <arrow/compute/api_vector.h>
#include <arrow/datum.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/operators/block_operators.hpp"
#include "mobula/data/operators/row_evaluation.hpp"

namespace mobula::data {
namespace {

class Filter : public BlockOperator {
 public:
  Filter(const std::string& predicate, std::shared_ptr<BadRows> bad_rows)
      : text_(predicate), predicate_(parse_expression(predicate)), bad_rows_(std::move(bad_rows)) {}

  std::string describe() const override { return fmt::format("filter({})", text_); }
  bool keeps_rows() const override { return false; }
  std::shared_ptr<const Expression> predicate() const override { return predicate_; }
  std::optional<std::vector<std::string>> reads() const override { return predicate_->columns(); }
  void change(Block& block) const override {
    const auto mask = evaluate_rows({predicate_}, block, describe(), *bad_rows_).front();
    const auto& truths = static_cast<const arrow::BooleanArray&>(*mask);
    if (truths.null_count() == 0 && truths.true_count() == truths.length()) return;
    block.batch = take(arrow::compute::Filter(block.batch, mask), describe()).record_batch();
    if (block.origin == nullptr) return;
    auto rows = std::make_shared<std::vector<std::int64_t>>();
    rows->reserve(static_cast<std::size_t>(block.batch->num_rows()));
    for (std::int64_t i = 0; i < truths.length(); ++i) {
      if (truths.IsValid(i) && truths.Value(i)) rows->push_back(block.number_of(i));
    }
    block.rows = std::move(rows);
  }
  std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) override {
    const auto type = bound_type(*predicate_, input, describe());
    if (type->id() != arrow::Type::BOOL) {
      throw_invalid(fmt::format("filter: '{}' is {}, not a truth value", text_, type->ToString()),
                    "compare it with something");
    }
    return input;
  }

 private:
  std::string text_;
  std::shared_ptr<const Expression> predicate_;
  std::shared_ptr<BadRows> bad_rows_;
};

}  // namespace

std::unique_ptr<BlockOperator> filter_operator(const std::string& predicate, std::shared_ptr<BadRows> bad_rows) {
  return std::make_unique<Filter>(predicate, std::move(bad_rows));
}

}  // namespace mobula::data
