/// The values of Jinja expressions, which behave as Python's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "mobula/base/json.hpp"

namespace mobula::text::jinja {

class Value;
class Interpreter;

/// An absent value and how to name it in messages.
struct Undefined {
  std::string name;
};
struct None {};
/// What Python would have made: it decides how a series prints, and what can be done with it.
enum class SeriesKind {
  list,
  tuple,
  range,
  keys,  ///< of a dictionary, as are values and items: without indices
  values,
  items,
  generator,  ///< made by map, select ...: has no length, and iterating over it empties it
};
struct List {
  std::vector<Value> items;
  SeriesKind kind = SeriesKind::list;

  /// Tells whether items can be taken by index.
  bool indexed() const { return kind <= SeriesKind::range; }
  /// Tells whether it is a list or tuple, which can be added, repeated, ordered and written as JSON.
  bool plain() const { return kind <= SeriesKind::tuple; }
};
/// Keys in the order they came.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  bool is_namespace = false;

  Value* find(const Value& key);
  void set(const Value& key, Value value);
};
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  /// Takes argument `index` or `name`; nothing where it wasn't given.
  std::optional<Value> get(std::size_t index, std::string_view name) const;
};
struct Function {
  std::string name;
  std::function<Value(Interpreter&, const Arguments&)> call;
};
/// The state of a running for loop, which is what the name `loop` gives.
struct Loop {
  std::vector<Value> items;
  std::size_t index = 0;
  std::size_t depth = 0;
  std::shared_ptr<Function> recurse;
  std::shared_ptr<Value> last_changed;
};

/// A value; copying shares lists, dictionaries and strings.
class Value {
 public:
  Value() : data_(None{}) {}
  Value(None) : data_(None{}) {}
  Value(Undefined undefined) : data_(std::move(undefined)) {}
  Value(bool value) : data_(value) {}
  Value(std::int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string value) : data_(std::make_shared<const std::string>(std::move(value))) {}
  Value(std::string_view value) : Value(std::string(value)) {}
  Value(const char* value) : Value(std::string(value)) {}
  Value(std::shared_ptr<List> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<Dict> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<Function> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<Loop> value) : data_(std::move(value)) {}

  static Value list(std::vector<Value> items, SeriesKind kind = SeriesKind::list);
  static Value tuple(std::vector<Value> items) { return list(std::move(items), SeriesKind::tuple); }
  static Value generator(std::vector<Value> items) { return list(std::move(items), SeriesKind::generator); }
  static Value from_json(const Json& json);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_integer() const { return std::holds_alternative<std::int64_t>(data_); }
  bool is_real() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_bool() || is_integer() || is_real(); }
  bool is_string() const { return std::holds_alternative<std::shared_ptr<const std::string>>(data_); }
  bool is_list() const { return std::holds_alternative<std::shared_ptr<List>>(data_); }
  bool is_dict() const { return std::holds_alternative<std::shared_ptr<Dict>>(data_); }
  bool is_function() const { return std::holds_alternative<std::shared_ptr<Function>>(data_); }
  bool is_loop() const { return std::holds_alternative<std::shared_ptr<Loop>>(data_); }

  const Undefined& undefined() const { return std::get<Undefined>(data_); }
  bool boolean() const { return std::get<bool>(data_); }
  const std::string& string() const { return *std::get<std::shared_ptr<const std::string>>(data_); }
  List& items() const { return *std::get<std::shared_ptr<List>>(data_); }
  Dict& dict() const { return *std::get<std::shared_ptr<Dict>>(data_); }
  Function& function() const { return *std::get<std::shared_ptr<Function>>(data_); }
  Loop& loop() const { return *std::get<std::shared_ptr<Loop>>(data_); }
  /// Returns the integer of an integer or a bool.
  std::int64_t integer() const { return is_bool() ? std::get<bool>(data_) : std::get<std::int64_t>(data_); }
  /// Returns any number as a double.
  double real() const { return is_real() ? std::get<double>(data_) : static_cast<double>(integer()); }
  /// Tells whether both are the same object (Python's `is`).
  bool same(const Value& other) const;

  /// Returns Python's name of the type.
  std::string_view type_name() const;
  bool truthy() const;

 private:
  std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const std::string>, std::shared_ptr<List>,
               std::shared_ptr<Dict>, std::shared_ptr<Function>, std::shared_ptr<Loop>>
      data_;
};

/// A failure of the template at run time; the interpreter adds the line.
struct Failure {
  std::string message;
};

/// Throws Failure "'x' is undefined" for an undefined value.
void expect_defined(const Value& value);

/// Tells whether a value may be a dictionary's key.
bool hashable(const Value& value);
/// Compares as Python's ==.
bool equal(const Value& left, const Value& right);
/// Compares as Python's <: negative, 0, positive. Throws Failure for types without an order.
int compare(const Value& left, const Value& right);
/// Returns Python's str() of a value; undefined values are empty.
std::string to_text(const Value& value);
/// Returns Python's repr() of a value.
std::string to_repr(const Value& value);
/// Formats a double as Python's repr().
std::string format_real(double value);

struct JsonFormat {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;
  std::optional<std::pair<std::string, std::string>> separators;
};
/// Writes JSON as Python's json.dumps. Throws Failure for what JSON can't hold.
std::string to_json_text(const Value& value, const JsonFormat& format);

}  // namespace mobula::text::jinja
