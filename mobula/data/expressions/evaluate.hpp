/// Evaluates expressions over batches. Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/type_fwd.h>

#include <memory>

#include "mobula/data/expressions/expression.hpp"

namespace mobula::data {

/// Returns the values of the expression, one a row. Thread-safe. Throws Error(invalid_argument) for an unknown column or
/// function and for types that don't go together.
std::shared_ptr<arrow::Array> evaluate(const Expression& expression, const arrow::RecordBatch& batch);

/// Returns the type that evaluate() gives over these columns, having checked that it works.
std::shared_ptr<arrow::DataType> expression_type(const Expression& expression,
                                                 const std::shared_ptr<arrow::Schema>& schema);

}  // namespace mobula::data
