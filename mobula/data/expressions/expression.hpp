/// Expressions over columns, as they stand in pipelines: `filter: "x > 0.5 and s != 'a'"`, `with: {s: "upper(s)"}`.
///
/// From loosest to tightest: or, and, not, comparisons (== != < <= > >=, in (a, b), is null, is not null), + -, * / %,
/// unary -, calls. Names are columns, `odd names` stand in backticks, texts in ' or ", numbers as usual, true, false, null.
/// Nulls go through operators; `and` and `or` know that false and null is false. `/` is division of real numbers;
/// whole numbers that overflow are an error, not a surprise.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace mobula::data {

/// A parsed expression. Immutable; share it between threads.
struct Expression {
  enum class Kind { column, literal, call };
  using Literal = std::variant<std::monostate, bool, std::int64_t, double, std::string>;

  Kind kind = Kind::literal;
  std::string name;  ///< of the column or of the function
  Literal literal;
  std::vector<std::shared_ptr<const Expression>> arguments;

  /// Returns the columns that the expression reads, each once.
  std::vector<std::string> columns() const;
};

/// Parses text. Throws Error(invalid_argument) that shows the place. At most 64 levels deep and 64 KiB long.
std::shared_ptr<const Expression> parse_expression(std::string_view text);

/// Lists the functions that calls may name.
std::vector<std::string> expression_functions();

}  // namespace mobula::data
