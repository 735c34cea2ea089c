#include "mobula/data/operators/row_evaluation.hpp"

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <string_view>

#include "mobula/base/error.hpp"
#include "mobula/data/expressions/evaluate.hpp"

namespace mobula::data {
namespace {

[[noreturn]] void rethrow_as(const std::string& where, const Error& error) {
  constexpr std::string_view kLead = "expression: ";
  std::string message = error.message();
  if (message.starts_with(kLead)) message.erase(0, kLead.size());
  throw Error(error.code(), fmt::format("{}: {}", where, message), error.hint());
}

bool fails(const Expression& expression, const arrow::RecordBatch& batch, std::int64_t begin, std::int64_t end) {
  try {
    evaluate(expression, *batch.Slice(begin, end - begin));
    return false;
  } catch (const Error&) {
    return true;
  }
}

}  // namespace

std::shared_ptr<arrow::Array> evaluate_rows(const Expression& expression, const Block& block, const std::string& op) {
  try {
    return evaluate(expression, *block.batch);
  } catch (const Error& error) {
    std::int64_t begin = 0;
    std::int64_t end = block.batch->num_rows();
    while (end - begin > 1) {
      const std::int64_t middle = begin + (end - begin) / 2;
      if (fails(expression, *block.batch, begin, middle)) {
        end = middle;
      } else {
        begin = middle;
      }
    }
    const bool found = end > begin && fails(expression, *block.batch, begin, end);
    rethrow_as(found ? fmt::format("{}: {}", block.describe_row(begin), op) : op, error);
  }
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
