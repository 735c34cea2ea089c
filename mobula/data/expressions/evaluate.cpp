#include "mobula/data/expressions/evaluate.hpp"

#include <arrow/array.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/array/util.h>
#include <arrow/compute/api_scalar.h>
#include <arrow/compute/cast.h>
#include <arrow/compute/exec.h>
#include <arrow/datum.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <cmath>
#include <functional>
#include <map>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/type_names.hpp"
#include "mobula/data/expressions/string_kernels.hpp"

namespace mobula::data {
namespace {

namespace cp = arrow::compute;
using arrow::Datum;
using Datums = std::vector<Datum>;

/// What a call's implementation may look at beside its values.
struct Call {
  const Expression& expression;
  std::int64_t num_rows;

  /// Returns an argument that must be a text known beforehand, such as a pattern.
  const std::string& text(std::size_t index) const {
    const Expression& argument = *expression.arguments[index];
    const auto* text = std::get_if<std::string>(&argument.literal);
    if (argument.kind != Expression::Kind::literal || text == nullptr) {
      throw_invalid(fmt::format("{}(): argument {} must be a text in quotes", expression.name, index + 1));
    }
    return *text;
  }
  std::int64_t integer(std::size_t index) const {
    const Expression& argument = *expression.arguments[index];
    const auto* value = std::get_if<std::int64_t>(&argument.literal);
    if (argument.kind != Expression::Kind::literal || value == nullptr) {
      throw_invalid(fmt::format("{}(): argument {} must be a whole number", expression.name, index + 1));
    }
    return *value;
  }
};

struct Function {
  std::size_t min_arguments;
  std::size_t max_arguments;
  std::function<arrow::Result<Datum>(Datums&, const Call&)> run;
};

constexpr std::size_t kAnyNumber = 64;

Function kernel(std::string name, std::size_t arguments) {
  return {arguments, arguments,
          [name = std::move(name)](Datums& values, const Call&) { return cp::CallFunction(name, values); }};
}

template <class Options>
Function pattern_kernel(std::string name) {
  return {2, 2, [name = std::move(name)](Datums& values, const Call& call) {
            const Options options(call.text(1));
            return cp::CallFunction(name, {values[0]}, &options);
          }};
}

bool is_string(const Datum& datum) {
  return datum.type()->id() == arrow::Type::STRING || datum.type()->id() == arrow::Type::LARGE_STRING;
}

arrow::Result<Datum> join(Datums values) {
  for (Datum& value : values) {
    if (!is_string(value)) {
      ARROW_ASSIGN_OR_RAISE(value, cp::Cast(value, arrow::utf8()));
    }
  }
  values.emplace_back(std::make_shared<arrow::StringScalar>(""));
  const cp::JoinOptions options(cp::JoinOptions::EMIT_NULL);
  return cp::CallFunction("binary_join_element_wise", values, &options);
}

arrow::Result<Datum> divide(Datums& values, const Call&) {
  for (Datum& value : values) {
    if (arrow::is_integer(value.type()->id())) {
      cp::CastOptions options = cp::CastOptions::Unsafe(arrow::float64());
      ARROW_ASSIGN_OR_RAISE(value, cp::Cast(value, options));
    }
  }
  return cp::CallFunction("divide", values);
}

/// The rest that has the divisor's sign, as in mathematics (and Python): a - floor(a / b) * b.
arrow::Result<Datum> modulo(Datums& values, const Call& call) {
  const bool integers = arrow::is_integer(values[0].type()->id()) && arrow::is_integer(values[1].type()->id());
  const auto type = integers ? arrow::int64() : arrow::float64();
  std::shared_ptr<arrow::Array> operands[2];
  for (int i = 0; i < 2; ++i) {
    ARROW_ASSIGN_OR_RAISE(const Datum cast, cp::Cast(values[static_cast<std::size_t>(i)], type));
    if (cast.is_scalar()) {
      ARROW_ASSIGN_OR_RAISE(operands[i], arrow::MakeArrayFromScalar(*cast.scalar(), call.num_rows));
    } else {
      operands[i] = cast.make_array();
    }
  }
  const auto fill = [&](auto builder, auto rest) -> arrow::Result<Datum> {
    using ArrayType = typename arrow::TypeTraits<typename decltype(builder)::TypeClass>::ArrayType;
    const auto& left = static_cast<const ArrayType&>(*operands[0]);
    const auto& right = static_cast<const ArrayType&>(*operands[1]);
    ARROW_RETURN_NOT_OK(builder.Reserve(left.length()));
    for (std::int64_t i = 0; i < left.length(); ++i) {
      if (left.IsNull(i) || right.IsNull(i)) {
        builder.UnsafeAppendNull();
        continue;
      }
      if (integers && right.Value(i) == 0) return arrow::Status::Invalid("divide by zero");
      builder.UnsafeAppend(rest(left.Value(i), right.Value(i)));
    }
    ARROW_ASSIGN_OR_RAISE(auto array, builder.Finish());
    return Datum(array);
  };
  if (integers) {
    return fill(arrow::Int64Builder(), [](std::int64_t a, std::int64_t b) -> std::int64_t {
      if (b == -1) return 0;  // the smallest number by -1 overflows
      const std::int64_t rest = a % b;
      return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
    });
  }
  return fill(arrow::DoubleBuilder(), [](double a, double b) { return a - std::floor(a / b) * b; });
}

arrow::Result<Datum> change_case_of(Datums& values, bool upper) {
  if (values[0].is_array() && is_string(values[0])) return Datum(change_case(values[0].make_array(), upper));
  return cp::CallFunction(upper ? "utf8_upper" : "utf8_lower", values);
}

std::map<std::string, Function> make_functions() {
  std::map<std::string, Function> table;
  const auto add = [&table](const char* name, Function function) { table.emplace(name, std::move(function)); };
  add("or", kernel("or_kleene", 2));
  add("and", kernel("and_kleene", 2));
  add("not", kernel("invert", 1));
  add("==", kernel("equal", 2));
  add("!=", kernel("not_equal", 2));
  add("<", kernel("less", 2));
  add("<=", kernel("less_equal", 2));
  add(">", kernel("greater", 2));
  add(">=", kernel("greater_equal", 2));
  add("-", kernel("subtract_checked", 2));
  add("*", kernel("multiply_checked", 2));
  add("/", {2, 2, divide});
  add("%", {2, 2, modulo});
  add("+", {2, 2, [](Datums& values, const Call&) -> arrow::Result<Datum> {
              if (is_string(values[0]) && is_string(values[1])) return join(values);
              return cp::CallFunction("add_checked", values);
            }});
  for (const auto& [name, arrow_name] : {std::pair{"negate", "negate_checked"},
                                         {"abs", "abs_checked"},
                                         {"floor", "floor"},
                                         {"ceil", "ceil"},
                                         {"sqrt", "sqrt"},
                                         {"exp", "exp"},
                                         {"ln", "ln"},
                                         {"log10", "log10"},
                                         {"sign", "sign"},
                                         {"sin", "sin"},
                                         {"cos", "cos"},
                                         {"tanh", "tanh"},
                                         {"is_nan", "is_nan"},
                                         {"is_null", "is_null"},
                                         {"year", "year"},
                                         {"month", "month"},
                                         {"day", "day"},
                                         {"hour", "hour"},
                                         {"minute", "minute"},
                                         {"second", "second"},
                                         {"trim", "utf8_trim_whitespace"},
                                         {"reverse", "utf8_reverse"},
                                         {"title", "utf8_title"},
                                         {"byte_length", "binary_length"},
                                         {"list_length", "list_value_length"}}) {
    add(name, kernel(arrow_name, 1));
  }
  add("pow", kernel("power", 2));
  add("if", kernel("if_else", 3));
  add("round", {1, 2, [](Datums& values, const Call& call) {
                  const cp::RoundOptions options(call.expression.arguments.size() == 2 ? call.integer(1) : 0);
                  return cp::CallFunction("round", {values[0]}, &options);
                }});
  add("upper", {1, 1, [](Datums& values, const Call&) { return change_case_of(values, true); }});
  add("lower", {1, 1, [](Datums& values, const Call&) { return change_case_of(values, false); }});
  add("length", {1, 1, [](Datums& values, const Call&) -> arrow::Result<Datum> {
                   if (values[0].is_array() && is_string(values[0]))
                     return Datum(count_code_points(values[0].make_array()));
                   ARROW_ASSIGN_OR_RAISE(const Datum counts, cp::CallFunction("utf8_length", values));
                   return cp::Cast(counts, arrow::int64());
                 }});
  add("contains", pattern_kernel<cp::MatchSubstringOptions>("match_substring"));
  add("starts_with", pattern_kernel<cp::MatchSubstringOptions>("starts_with"));
  add("ends_with", pattern_kernel<cp::MatchSubstringOptions>("ends_with"));
  add("matches", pattern_kernel<cp::MatchSubstringOptions>("match_substring_regex"));
  for (const auto& [name, arrow_name] :
       {std::pair{"replace", "replace_substring"}, {"replace_regex", "replace_substring_regex"}}) {
    add(name, {3, 3, [arrow_name = std::string(arrow_name)](Datums& values, const Call& call) {
                 const cp::ReplaceSubstringOptions options(call.text(1), call.text(2));
                 return cp::CallFunction(arrow_name, {values[0]}, &options);
               }});
  }
  add("substring", {2, 3, [](Datums& values, const Call& call) {
                      const std::int64_t start = call.integer(1);
                      const bool to_end = call.expression.arguments.size() == 2;
                      const cp::SliceOptions options(
                          start, to_end ? std::numeric_limits<std::int64_t>::max() : start + call.integer(2));
                      return cp::CallFunction("utf8_slice_codeunits", {values[0]}, &options);
                    }});
  add("concat", {1, kAnyNumber, [](Datums& values, const Call&) { return join(values); }});
  add("coalesce", {1, kAnyNumber, [](Datums& values, const Call&) { return cp::CallFunction("coalesce", values); }});
  add("least",
      {1, kAnyNumber, [](Datums& values, const Call&) { return cp::CallFunction("min_element_wise", values); }});
  add("greatest",
      {1, kAnyNumber, [](Datums& values, const Call&) { return cp::CallFunction("max_element_wise", values); }});
  add("cast", {2, 2, [](Datums& values, const Call& call) { return cp::Cast(values[0], type_of_name(call.text(1))); }});
  return table;
}

const std::map<std::string, Function>& functions() {
  static const std::map<std::string, Function> table = make_functions();
  return table;
}

Datum literal_value(const Expression::Literal& literal) {
  struct Visitor {
    Datum operator()(std::monostate) const { return Datum(std::make_shared<arrow::NullScalar>()); }
    Datum operator()(bool value) const { return Datum(std::make_shared<arrow::BooleanScalar>(value)); }
    Datum operator()(std::int64_t value) const { return Datum(std::make_shared<arrow::Int64Scalar>(value)); }
    Datum operator()(double value) const { return Datum(std::make_shared<arrow::DoubleScalar>(value)); }
    Datum operator()(const std::string& value) const { return Datum(std::make_shared<arrow::StringScalar>(value)); }
  };
  return std::visit(Visitor{}, literal);
}

Datum value_of(const Expression& expression, const arrow::RecordBatch& batch) {
  switch (expression.kind) {
    case Expression::Kind::literal:
      return literal_value(expression.literal);
    case Expression::Kind::column: {
      auto column = batch.GetColumnByName(expression.name);
      if (column == nullptr) {
        throw Error(ErrorCode::invalid_argument, fmt::format("expression: no column '{}'", expression.name),
                    suggest(expression.name, batch.schema()->field_names()));
      }
      return column;
    }
    case Expression::Kind::call:
      break;
  }
  const auto found = functions().find(expression.name);
  if (found == functions().end()) {
    throw Error(ErrorCode::invalid_argument, fmt::format("expression: no function '{}'", expression.name),
                suggest(expression.name, expression_functions()));
  }
  const Function& function = found->second;
  if (expression.arguments.size() < function.min_arguments || expression.arguments.size() > function.max_arguments) {
    throw_invalid(fmt::format("expression: {}() takes {} arguments, not {}", expression.name,
                              function.min_arguments == function.max_arguments
                                  ? fmt::format("{}", function.min_arguments)
                                  : fmt::format("{} to {}", function.min_arguments, function.max_arguments),
                              expression.arguments.size()));
  }
  Datums values;
  for (const auto& argument : expression.arguments) values.push_back(value_of(*argument, batch));
  auto result = function.run(values, {expression, batch.num_rows()});
  if (!result.ok()) {
    std::vector<std::string> types;
    for (const Datum& value : values) types.push_back(name_of_type(*value.type()));
    const std::string message = result.status().message();
    throw Error(ErrorCode::invalid_argument,
                fmt::format("expression: '{}' of {}: {}", expression.name, fmt::join(types, ", "),
                            message.substr(0, message.find('\n'))));
  }
  return *std::move(result);
}

}  // namespace

std::vector<std::string> expression_functions() {
  std::vector<std::string> names;
  for (const auto& [name, function] : functions()) {
    if (std::isalpha(static_cast<unsigned char>(name[0]))) names.push_back(name);
  }
  return names;
}

std::shared_ptr<arrow::Array> evaluate(const Expression& expression, const arrow::RecordBatch& batch) {
  const Datum value = value_of(expression, batch);
  if (value.is_scalar()) return take(arrow::MakeArrayFromScalar(*value.scalar(), batch.num_rows()), "expression");
  return value.make_array();
}

std::shared_ptr<arrow::DataType> expression_type(const Expression& expression,
                                                 const std::shared_ptr<arrow::Schema>& schema) {
  const auto empty = take(arrow::RecordBatch::MakeEmpty(schema), "expression");
  auto type = evaluate(expression, *empty)->type();
  if (type->id() == arrow::Type::NA) throw_invalid("expression: null alone has no type", "write cast(null, 'int64')");
  return type;
}

}  // namespace mobula::data
