/// Runs a template's syntax tree.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/text/jinja/program.hpp"
#include "mobula/text/jinja/value.hpp"

namespace mobula::text::jinja {

/// The bounds of one run were reached.
struct Exhausted {
  std::string message;
};

/// One run of a program. Values made in it must not outlive it.
class Interpreter {
 public:
  Interpreter(const Program& program, const Json& context);
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;
  ~Interpreter();

  /// Returns the rendered text. Throws Failure (line() tells where) or Exhausted.
  std::string run();
  int line() const { return line_; }

  /// Counts work (steps, or bytes that are made) against the bounds; throws Exhausted.
  void charge(std::size_t amount);
  /// Makes a string that counts against the bounds.
  Value text(std::string value);
  /// Applies a filter or test by name. Throws Failure for an unknown one.
  Value filter(const std::string& name, const Value& input, const Arguments& arguments);
  bool test(const std::string& name, const Value& input, const Arguments& arguments);
  Value call(const Value& function, const Arguments& arguments);
  /// Returns object.name and object[key], undefined where there is none.
  Value attribute(const Value& object, const std::string& name);
  Value subscript(const Value& object, const Value& key);
  /// Returns what a for loop over a value sees. Throws Failure where it can't be iterated over.
  std::vector<Value> iterate(const Value& value);
  Value arithmetic(const std::string& sign, const Value& left, const Value& right);
  Value make_namespace(const Arguments& arguments);

 private:
  static constexpr int kMaxDepth = 1000;  ///< of calls, blocks and expressions

  struct Scope {
    Scope* parent;
    std::vector<std::pair<std::string, Value>> variables;
    bool captured = false;
    Value* find(std::string_view name);
    void set(std::string_view name, Value value);
  };
  struct ScopeGuard;
  enum class Flow { next, break_loop, continue_loop };

  Flow execute(const Block& block, std::string& out);
  Flow execute(const Statement& statement, std::string& out);
  Flow run_loop(const Statement& statement, const std::vector<Value>& values, std::size_t depth, std::string& out);
  Value make_macro(const Statement& statement, std::string name);
  void assign(const Expression& target, const Value& value);
  std::string capture(const Block& block);
  void write(std::string& out, std::string_view text);

  Value evaluate(const Expression& expression);
  Value evaluate_output(const Expression& expression);
  Value evaluate_as_written(const Expression& expression);
  std::optional<Value> precompute(const Expression& expression);
  Value evaluate_call(const Expression& expression);
  Value evaluate_slice(const Expression& expression);
  Value evaluate_comparison(const Expression& expression);
  Value apply_filters(const Expression* chain, Value input);
  Arguments arguments(const Expression& expression);
  Value lookup(const std::string& name);
  Scope* capture_scope();

  const Program& program_;
  std::vector<std::unique_ptr<Scope>> scopes_;
  Scope* scope_ = nullptr;
  std::vector<std::weak_ptr<Dict>> namespaces_;
  std::size_t work_ = 0;
  int depth_ = 0;
  bool precomputing_ = false;  // evaluates without variables, as Jinja does when it reads a template
  int line_ = 1;
};

/// Calls a method of a string, list or dictionary; throws Failure where there is none of that name or it would change its
/// object, which chat templates may not.
Value call_method(Interpreter& interpreter, const Value& object, const std::string& name, const Arguments& arguments);
/// Tells whether a value has a method of that name.
bool has_method(const Value& object, std::string_view name);

/// Applies a built-in filter. Throws Failure for an unknown one.
Value apply_filter(Interpreter& interpreter, const std::string& name, const Value& input, const Arguments& arguments);
bool has_filter(std::string_view name);
/// Applies a built-in test. Throws Failure for an unknown one.
bool apply_test(Interpreter& interpreter, const std::string& name, const Value& input, const Arguments& arguments);
bool has_test(std::string_view name);
/// Returns a global function (range, namespace, raise_exception ...), undefined where there is none.
Value global(const std::string& name);
/// Formats as Python's "..." % values.
std::string percent_format(const std::string& format, const std::vector<Value>& values, const Value* mapping);
/// Formats as Python's "...".format(...).
std::string brace_format(Interpreter& interpreter, const std::string& format, const Arguments& arguments);

/// Returns an integer argument; throws Failure where it is of another type.
std::int64_t expect_integer(const Value& value, std::string_view what);
/// Returns a string argument; throws Failure where it is of another type.
const std::string& expect_string(const Value& value, std::string_view what);

}  // namespace mobula::text::jinja
