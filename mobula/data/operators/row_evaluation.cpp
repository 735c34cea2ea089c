#include "mobula/data/operators/row_evaluation.hpp"

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <string_view>

#include "mobula/base/error.hpp"
#include "mobula/data/expressions/evaluate.hpp"
#include "mobula/data/operators/failing_rows.hpp"

namespace mobula::data {
namespace {

/// Says an operator's name before an expression's error.
[[noreturn]] void rethrow_as(const std::string& op, const Error& error) {
  throw Error(error.code(), fmt::format("{}: {}", op, reason_of(error)), error.hint());
}

arrow::ArrayVector evaluate_all(const ExpressionList& expressions, const arrow::RecordBatch& batch) {
  arrow::ArrayVector values;
  for (const auto& expression : expressions) values.push_back(evaluate(*expression, batch));
  return values;
}

}  // namespace

arrow::ArrayVector evaluate_rows(const ExpressionList& expressions, Block& block, const std::string& op,
                                 BadRows& bad_rows) {
  arrow::ArrayVector values;
  std::vector<std::int64_t> failed;
  const std::int64_t num_rows = block.batch->num_rows();
  try {
    find_failing_rows(
        num_rows,
        [&](std::int64_t begin, std::int64_t end) {
          if (end - begin == num_rows) {
            values = evaluate_all(expressions, *block.batch);
          } else {
            evaluate_all(expressions, *block.batch->Slice(begin, end - begin));
          }
        },
        [&](std::int64_t row, const std::exception& error) {
          failed.push_back(row);
          fail_row(block, row, op, error, bad_rows);
        });
  } catch (const Error& error) {
    if (!failed.empty()) throw;  // it names the row
    rethrow_as(op, error);
  }
  if (failed.empty()) return values;
  block.pick(rows_without(failed, num_rows), op);
  return evaluate_all(expressions, *block.batch);
}

std::shared_ptr<arrow::DataType> bound_type(const Expression& expression, const std::shared_ptr<arrow::Schema>& schema,
                                            const std::string& op) {
  try {
    return expression_type(expression, schema);
  } catch (const Error& error) {
    rethrow_as(op, error);
  }
}

}  // namespace mobula::data
