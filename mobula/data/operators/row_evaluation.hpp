/// Expressions of operators, with the row on which one failed. Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/type_fwd.h>

#include <memory>
#include <string>
#include <vector>

#include "mobula/data/engine/bad_rows.hpp"
#include "mobula/data/expressions/expression.hpp"
#include "mobula/data/sources/source.hpp"

namespace mobula::data {

using ExpressionList = std::vector<std::shared_ptr<const Expression>>;

/// Evaluates over a block's rows; those on which one of the expressions fails are bad rows, and left out of the block where
/// bad rows are skipped. Else throws what evaluate() throws, led by the first row that fails (where it came from) and by the
/// operator's name.
std::vector<std::shared_ptr<arrow::Array>> evaluate_rows(const ExpressionList& expressions, Block& block,
                                                         const std::string& op, BadRows& bad_rows);

/// Returns the expression's type over these columns. Throws what expression_type() throws, led by the operator's name.
std::shared_ptr<arrow::DataType> bound_type(const Expression& expression, const std::shared_ptr<arrow::Schema>& schema,
                                            const std::string& op);

}  // namespace mobula::data
