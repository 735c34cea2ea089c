#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "mobula/text/jinja/interpreter.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text::jinja {
namespace {

[[noreturn]] void unsupported_operands(const std::string& sign, const Value& left, const Value& right) {
  expect_defined(left);
  expect_defined(right);
  throw Failure{
      fmt::format("unsupported operand type(s) for {}: '{}' and '{}'", sign, left.type_name(), right.type_name())};
}

// `operation` computes into its argument and tells whether it overflowed.
template <class Operation>
Value checked(Operation&& operation) {
  std::int64_t result = 0;
  if (operation(&result)) throw Failure{"an integer is too large"};
  return Value(result);
}

Value integer_power(std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  for (; exponent > 0; --exponent) {
    if (__builtin_mul_overflow(result, base, &result)) throw Failure{"an integer is too large"};
    if (result == 0 || (result == 1 && base == 1)) break;
    if (base == -1 && exponent > 2) exponent = exponent % 2 + 2;
  }
  return Value(result);
}

Value real_power(double base, double exponent) {
  if (base == 0 && exponent < 0) throw Failure{"0.0 cannot be raised to a negative power"};
  if (base < 0 && exponent != std::floor(exponent)) throw Failure{"the power is a complex number"};
  return Value(std::pow(base, exponent));
}

bool contains(const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      expect_defined(item);
      throw Failure{fmt::format("'in <string>' requires string as left operand, not {}", item.type_name())};
    }
    return container.string().find(item.string()) != std::string::npos;
  }
  if (container.is_list()) {
    auto& items = container.items().items;
    const auto found = std::find_if(items.begin(), items.end(), [&](const Value& each) { return equal(each, item); });
    const bool there = found != items.end();
    if (container.items().kind == SeriesKind::generator) items.erase(items.begin(), there ? found + 1 : found);
    return there;
  }
  if (container.is_dict() && !container.dict().is_namespace) {
    if (!hashable(item)) throw Failure{fmt::format("unhashable type: '{}'", item.type_name())};
    return container.dict().find(item) != nullptr;
  }
  if (container.is_undefined()) return false;
  throw Failure{fmt::format("argument of type '{}' is not iterable", container.type_name())};
}

// Returns the bytes of code points [begin, end) of a text.
std::pair<std::size_t, std::size_t> byte_range(const std::string& text, std::size_t begin, std::size_t end) {
  std::size_t at = 0;
  std::size_t index = 0;
  for (; index < begin && at < text.size(); ++index) at += utf8_length(text[at]);
  const std::size_t first = at;
  for (; index < end && at < text.size(); ++index) at += utf8_length(text[at]);
  return {first, at};
}

// A slice of a value that has none, or whose bounds aren't integers.
struct Unsliceable : Failure {};

// Tells whether Jinja could write a value into the program that it makes of a template.
bool is_literal(const Value& value) {
  if (value.is_list()) {
    const auto& items = value.items().items;
    return value.items().indexed() && std::all_of(items.begin(), items.end(), is_literal);
  }
  if (value.is_dict()) {
    const auto& entries = value.dict().entries;
    return !value.dict().is_namespace && std::all_of(entries.begin(), entries.end(), [](const auto& entry) {
      return is_literal(entry.first) && is_literal(entry.second);
    });
  }
  return value.is_none() || value.is_number() || value.is_string();
}

// Tells whether a filter looks at the template's variables, so that Jinja never computes it beforehand.
bool needs_context(std::string_view name) {
  return name == "map" || name == "select" || name == "reject" || name == "selectattr" || name == "rejectattr";
}

}  // namespace

Value Interpreter::evaluate(const Expression& expression) {
  try {
    return evaluate_as_written(expression);
  } catch (const Unsliceable&) {
    const std::optional<Value> value = precompute(expression);
    if (value && is_literal(*value)) return *value;
    throw;
  }
}

Value Interpreter::evaluate_output(const Expression& expression) {
  try {
    return evaluate(expression);
  } catch (const Unsliceable&) {
    if (const std::optional<Value> value = precompute(expression)) return *value;
    throw;
  }
}

// Jinja computes what needs no variables when it reads a template, and then a slice that can't be taken is undefined
// instead of a failure: {{ [1, 2][-1][::-1] }} writes nothing.
std::optional<Value> Interpreter::precompute(const Expression& expression) {
  struct Restore {
    ~Restore() { flag = before; }
    bool& flag;
    bool before;
  } const restore{precomputing_, precomputing_};
  precomputing_ = true;
  try {
    return evaluate_as_written(expression);
  } catch (const Failure&) {
    return std::nullopt;
  }
}

Value Interpreter::evaluate_as_written(const Expression& expression) {
  charge(1);
  if (++depth_ > kMaxDepth) {
    --depth_;
    throw Exhausted{"expressions and calls are nested too deeply"};
  }
  struct Depth {
    ~Depth() { --depth; }
    int& depth;
  } const leave{depth_};
  const auto operand = [&](std::size_t index) { return evaluate(*expression.operands[index]); };
  const auto expect_run = [&](bool runs) {
    if (precomputing_ && runs) throw Failure{"is known only when the template runs"};
  };
  switch (expression.kind) {
    case ExpressionKind::constant:
      return expression.value;
    case ExpressionKind::variable:
      expect_run(true);
      return lookup(expression.name);
    case ExpressionKind::list:
    case ExpressionKind::tuple: {
      std::vector<Value> items;
      for (const auto& each : expression.operands) items.push_back(evaluate(*each));
      return Value::list(std::move(items),
                         expression.kind == ExpressionKind::tuple ? SeriesKind::tuple : SeriesKind::list);
    }
    case ExpressionKind::dict: {
      auto dict = std::make_shared<Dict>();
      for (std::size_t i = 0; i < expression.operands.size(); i += 2) {
        const Value key = operand(i);
        if (!hashable(key)) throw Failure{fmt::format("unhashable type: '{}'", key.type_name())};
        dict->set(key, operand(i + 1));
      }
      return Value(std::move(dict));
    }
    case ExpressionKind::attribute:
      return attribute(operand(0), expression.name);
    case ExpressionKind::subscript:
      return subscript(operand(0), operand(1));
    case ExpressionKind::slice:
      return evaluate_slice(expression);
    case ExpressionKind::call:
      expect_run(true);
      return evaluate_call(expression);
    case ExpressionKind::filter: {
      expect_run(needs_context(expression.name));
      const Value input = operand(0);
      return filter(expression.name, input, arguments(expression));
    }
    case ExpressionKind::test: {
      const Value input = operand(0);
      return Value(test(expression.name, input, arguments(expression)));
    }
    case ExpressionKind::unary: {
      const Value value = operand(0);
      if (expression.name == "not") return Value(!value.truthy());
      expect_defined(value);
      if (!value.is_number())
        throw Failure{fmt::format("bad operand type for unary {}: '{}'", expression.name, value.type_name())};
      if (value.is_real()) return Value(expression.name == "-" ? -value.real() : value.real());
      if (expression.name == "+") return Value(value.integer());
      return checked([&](std::int64_t* r) { return __builtin_sub_overflow(0, value.integer(), r); });
    }
    case ExpressionKind::binary: {
      Value left = operand(0);
      if (expression.name == "and") return left.truthy() ? operand(1) : left;
      if (expression.name == "or") return left.truthy() ? left : operand(1);
      const Value right = operand(1);
      if (expression.name == "~") return text(to_text(left) + to_text(right));
      return arithmetic(expression.name, left, right);
    }
    case ExpressionKind::comparison:
      return evaluate_comparison(expression);
    case ExpressionKind::conditional:
      if (operand(1).truthy()) return operand(0);
      if (expression.operands[2]) return operand(2);
      expect_run(true);
      return Value(Undefined{"the inline if-expression evaluated to false and no else section was defined"});
  }
  return Value();
}

Arguments Interpreter::arguments(const Expression& expression) {
  Arguments given;
  for (const auto& each : expression.positional) given.positional.push_back(evaluate(*each));
  if (expression.star) {
    for (Value& value : iterate(evaluate(*expression.star))) given.positional.push_back(std::move(value));
  }
  for (const auto& [name, value] : expression.named) given.named.emplace_back(name, evaluate(*value));
  if (expression.double_star) {
    const Value more = evaluate(*expression.double_star);
    if (!more.is_dict()) throw Failure{"an argument behind ** must be a mapping"};
    for (const auto& [key, value] : more.dict().entries)
      given.named.emplace_back(expect_string(key, "keywords"), value);
  }
  return given;
}

Value Interpreter::evaluate_call(const Expression& expression) {
  const Expression& callee = *expression.operands[0];
  if (callee.kind == ExpressionKind::attribute || callee.kind == ExpressionKind::subscript) {
    // A method needs no function value of its own.
    const Value object = evaluate(*callee.operands[0]);
    if (callee.kind == ExpressionKind::attribute && has_method(object, callee.name)) {
      return call_method(*this, object, callee.name, arguments(expression));
    }
    const Value function = callee.kind == ExpressionKind::attribute ? attribute(object, callee.name)
                                                                    : subscript(object, evaluate(*callee.operands[1]));
    return call(function, arguments(expression));
  }
  const Value function = evaluate(callee);
  return call(function, arguments(expression));
}

Value Interpreter::attribute(const Value& object, const std::string& name) {
  expect_defined(object);
  if (name.starts_with("__")) {
    return Value(Undefined{fmt::format("access to attribute '{}' of '{}' is unsafe", name, object.type_name())});
  }
  if (object.is_loop()) {
    const Loop& loop = object.loop();
    const auto count = static_cast<std::int64_t>(loop.items.size());
    const auto index = static_cast<std::int64_t>(loop.index);
    if (name == "index") return Value(index + 1);
    if (name == "index0") return Value(index);
    if (name == "revindex") return Value(count - index);
    if (name == "revindex0") return Value(count - index - 1);
    if (name == "first") return Value(index == 0);
    if (name == "last") return Value(index + 1 == count);
    if (name == "length") return Value(count);
    if (name == "depth") return Value(static_cast<std::int64_t>(loop.depth + 1));
    if (name == "depth0") return Value(static_cast<std::int64_t>(loop.depth));
    if (name == "previtem")
      return index > 0 ? loop.items[loop.index - 1] : Value(Undefined{"there is no previous item"});
    if (name == "nextitem")
      return index + 1 < count ? loop.items[loop.index + 1] : Value(Undefined{"there is no next item"});
  }
  if (has_method(object, name)) {
    auto function = std::make_shared<Function>();
    function->name = name;
    function->call = [object, name](Interpreter& self, const Arguments& given) {
      return call_method(self, object, name, given);
    };
    return Value(std::move(function));
  }
  if (object.is_dict()) {
    if (const Value* found = object.dict().find(Value(name))) return *found;
  }
  if (object.is_function() && name == "name") return Value(object.function().name);
  return Value(Undefined{fmt::format("'{} object' has no attribute '{}'", object.type_name(), name)});
}

Value Interpreter::subscript(const Value& object, const Value& key) {
  expect_defined(object);
  if (object.is_dict()) {
    if (const Value* found = object.dict().find(key)) return *found;
  } else if (((object.is_list() && object.items().indexed()) || object.is_string()) &&
             (key.is_integer() || key.is_bool())) {
    const auto count =
        static_cast<std::int64_t>(object.is_list() ? object.items().items.size() : count_code_points(object.string()));
    std::int64_t index = key.integer();
    if (index < 0) index += count;
    if (index < 0 || index >= count)
      return Value(Undefined{fmt::format("{} object has no element {}", object.type_name(), key.integer())});
    if (object.is_list()) return object.items().items[static_cast<std::size_t>(index)];
    const auto [begin, end] =
        byte_range(object.string(), static_cast<std::size_t>(index), static_cast<std::size_t>(index) + 1);
    return text(object.string().substr(begin, end - begin));
  }
  if (key.is_string()) {
    if (object.is_dict() && !has_method(object, key.string())) {
      return Value(Undefined{fmt::format("'{} object' has no attribute '{}'", object.type_name(), key.string())});
    }
    return attribute(object, key.string());
  }
  return Value(Undefined{fmt::format("{} object has no element {}", object.type_name(), to_repr(key))});
}

Value Interpreter::evaluate_slice(const Expression& expression) {
  const Value object = evaluate(*expression.operands[0]);
  expect_defined(object);
  std::string refusal;
  if (!(object.is_list() && object.items().indexed()) && !object.is_string()) {
    refusal = fmt::format("'{}' object can't be sliced", object.type_name());
  }
  const auto part = [&](std::size_t index) -> std::optional<std::int64_t> {
    if (!expression.operands[index]) return std::nullopt;
    const Value value = evaluate(*expression.operands[index]);
    if (value.is_integer() || value.is_bool()) return value.integer();
    if (!value.is_none() && refusal.empty())
      refusal = fmt::format("slice indices must be integers, not {}", value.type_name());
    return std::nullopt;
  };
  const auto first = part(1);
  const auto last = part(2);
  const std::int64_t step = part(3).value_or(1);
  if (!refusal.empty()) {
    if (precomputing_) return Value(Undefined{std::move(refusal)});
    throw Unsliceable{{std::move(refusal)}};
  }
  if (step == 0) throw Failure{"slice step cannot be zero"};
  const auto count =
      static_cast<std::int64_t>(object.is_list() ? object.items().items.size() : count_code_points(object.string()));
  const auto bound = [&](const std::optional<std::int64_t>& given, std::int64_t otherwise) {
    if (!given) return otherwise;
    const std::int64_t index = *given < 0 ? std::max<std::int64_t>(*given, -count - 1) + count : *given;
    return step > 0 ? std::clamp<std::int64_t>(index, 0, count) : std::clamp<std::int64_t>(index, -1, count - 1);
  };
  const std::int64_t begin = bound(first, step > 0 ? 0 : count - 1);
  const std::int64_t end = bound(last, step > 0 ? count : -1);
  if (object.is_string() && step == 1) {
    const auto [from, to] =
        byte_range(object.string(), static_cast<std::size_t>(begin), static_cast<std::size_t>(std::max(begin, end)));
    return text(object.string().substr(from, to - from));
  }
  std::vector<Value> characters;
  const std::vector<Value>& items = object.is_list() ? object.items().items : characters = iterate(object);
  std::vector<Value> taken;
  for (std::int64_t i = begin; step > 0 ? i < end : i > end; i += step) {
    charge(1);
    taken.push_back(items[static_cast<std::size_t>(i)]);
    if (step > 0 ? end - i <= step : i - end <= -step) break;
  }
  if (object.is_list()) return Value::list(std::move(taken), object.items().kind);
  std::string joined;
  for (const Value& each : taken) joined += each.string();
  return text(std::move(joined));
}

Value Interpreter::evaluate_comparison(const Expression& expression) {
  Value left = evaluate(*expression.operands[0]);
  for (std::size_t i = 0; i < expression.signs.size(); ++i) {
    Value right = evaluate(*expression.operands[i + 1]);
    const std::string& sign = expression.signs[i];
    bool holds = false;
    if (sign == "==") {
      holds = equal(left, right);
    } else if (sign == "!=") {
      holds = !equal(left, right);
    } else if (sign == "in" || sign == "not in") {
      if (right.is_string() || right.is_list())
        charge(right.is_string() ? right.string().size() / 64 : right.items().items.size());
      holds = contains(right, left) == (sign == "in");
    } else {
      const bool real = left.is_number() && right.is_number() && (left.is_real() || right.is_real());
      if (real && (std::isnan(left.real()) || std::isnan(right.real()))) return Value(false);
      const int order = compare(left, right);
      holds = sign == "<" ? order < 0 : sign == "<=" ? order <= 0 : sign == ">" ? order > 0 : order >= 0;
    }
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Interpreter::arithmetic(const std::string& sign, const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) {
    if (sign == "/") {
      if (right.real() == 0) throw Failure{"division by zero"};
      return Value(left.real() / right.real());
    }
    if (left.is_real() || right.is_real()) {
      const double a = left.real();
      const double b = right.real();
      if (sign == "+") return Value(a + b);
      if (sign == "-") return Value(a - b);
      if (sign == "*") return Value(a * b);
      if (sign == "**") return real_power(a, b);
      if (b == 0) throw Failure{sign == "%" ? "float modulo" : "float floor division by zero"};
      if (sign == "//") return Value(std::floor(a / b));
      const double rest = std::fmod(a, b);
      if (rest == 0) return Value(std::copysign(0.0, b));
      return Value(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
    }
    const std::int64_t a = left.integer();
    const std::int64_t b = right.integer();
    if (sign == "+") return checked([&](std::int64_t* r) { return __builtin_add_overflow(a, b, r); });
    if (sign == "-") return checked([&](std::int64_t* r) { return __builtin_sub_overflow(a, b, r); });
    if (sign == "*") return checked([&](std::int64_t* r) { return __builtin_mul_overflow(a, b, r); });
    if (sign == "**") return b < 0 ? real_power(static_cast<double>(a), static_cast<double>(b)) : integer_power(a, b);
    if (b == 0) throw Failure{"integer division or modulo by zero"};
    if (b == -1)
      return sign == "%" ? Value(std::int64_t{0})
                         : checked([&](std::int64_t* r) { return __builtin_sub_overflow(0, a, r); });
    const bool down = a % b != 0 && (a < 0) != (b < 0);
    return Value(sign == "//" ? a / b - down : a % b + (down ? b : 0));
  }
  if (sign == "%" && left.is_string()) {
    if (right.is_list() && right.items().kind == SeriesKind::tuple)
      return text(percent_format(left.string(), right.items().items, nullptr));
    // What could be indexed by names, as a list could, may go unused.
    const bool indexed = right.is_dict() || right.is_list() || right.is_undefined();
    return text(percent_format(left.string(), {right}, indexed ? &right : nullptr));
  }
  if (sign == "+" && left.is_string() && right.is_string()) return text(left.string() + right.string());
  if (sign == "+" && left.is_list() && right.is_list() && left.items().plain() &&
      left.items().kind == right.items().kind) {
    std::vector<Value> items = left.items().items;
    items.insert(items.end(), right.items().items.begin(), right.items().items.end());
    charge(items.size());
    return Value::list(std::move(items), left.items().kind);
  }
  if (sign == "*") {
    const auto repeats = [](const Value& value) {
      return value.is_string() || (value.is_list() && value.items().plain());
    };
    const Value& series = repeats(left) ? left : right;
    const Value& times = &series == &left ? right : left;
    if (repeats(series) && (times.is_integer() || times.is_bool())) {
      const auto count = static_cast<std::size_t>(std::max<std::int64_t>(times.integer(), 0));
      const std::size_t size = series.is_string() ? series.string().size() : series.items().items.size();
      constexpr std::size_t kEverything = ~std::size_t{0};
      if (size > 0 && count > kEverything / size) charge(kEverything);
      charge(size * count);
      if (series.is_string()) {
        std::string repeated;
        for (std::size_t i = 0; i < count; ++i) repeated += series.string();
        return Value(std::move(repeated));
      }
      std::vector<Value> items;
      for (std::size_t i = 0; i < count; ++i)
        items.insert(items.end(), series.items().items.begin(), series.items().items.end());
      return Value::list(std::move(items), series.items().kind);
    }
  }
  unsupported_operands(sign, left, right);
}

}  // namespace mobula::text::jinja
