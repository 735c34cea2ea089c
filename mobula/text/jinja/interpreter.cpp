#include "mobula/text/jinja/interpreter.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text::jinja {
namespace {

constexpr std::size_t kMaxWork = std::size_t{1} << 24;

}  // namespace

std::int64_t expect_integer(const Value& value, std::string_view what) {
  expect_defined(value);
  if (!value.is_integer() && !value.is_bool()) {
    throw Failure{fmt::format("{} must be an integer, not {}", what, value.type_name())};
  }
  return value.integer();
}

const std::string& expect_string(const Value& value, std::string_view what) {
  expect_defined(value);
  if (!value.is_string()) throw Failure{fmt::format("{} must be a string, not {}", what, value.type_name())};
  return value.string();
}

Value* Interpreter::Scope::find(std::string_view name) {
  for (auto variable = variables.rbegin(); variable != variables.rend(); ++variable) {
    if (variable->first == name) return &variable->second;
  }
  return nullptr;
}

void Interpreter::Scope::set(std::string_view name, Value value) {
  if (Value* known = find(name)) {
    *known = std::move(value);
  } else {
    variables.emplace_back(name, std::move(value));
  }
}

struct Interpreter::ScopeGuard {
  explicit ScopeGuard(Interpreter& interpreter, Scope* parent)
      : interpreter_(interpreter), before_(interpreter.scope_) {
    if (++interpreter.depth_ > kMaxDepth) {
      --interpreter.depth_;
      throw Exhausted{fmt::format("calls and blocks are nested deeper than {} levels", kMaxDepth)};
    }
    interpreter.scopes_.push_back(std::make_unique<Scope>(Scope{parent, {}}));
    interpreter.scope_ = interpreter.scopes_.back().get();
  }
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;
  ~ScopeGuard() {
    --interpreter_.depth_;
    // A macro that was made inside keeps its scope.
    if (interpreter_.scopes_.back().get() == interpreter_.scope_ && !interpreter_.scope_->captured) {
      interpreter_.scopes_.pop_back();
    }
    interpreter_.scope_ = before_;
  }
  Interpreter& interpreter_;
  Scope* before_;
};

Interpreter::Interpreter(const Program& program, const Json& context) : program_(program) {
  scopes_.push_back(std::make_unique<Scope>(Scope{nullptr, {}}));
  scope_ = scopes_.back().get();
  for (const auto& [name, value] : context.items()) scope_->set(name, Value::from_json(value));
}

Interpreter::~Interpreter() {
  // A namespace that holds itself would never go away.
  for (const auto& each : namespaces_) {
    if (const auto dict = each.lock()) dict->entries.clear();
  }
}

std::string Interpreter::run() {
  std::string out;
  execute(program_.body, out);
  return out;
}

void Interpreter::charge(std::size_t amount) {
  work_ += amount;
  if (amount > kMaxWork || work_ > kMaxWork) throw Exhausted{"the template runs too long or writes too much"};
}

Value Interpreter::text(std::string value) {
  charge(value.size());
  return Value(std::move(value));
}

void Interpreter::write(std::string& out, std::string_view text) {
  charge(text.size());
  out += text;
}

std::string Interpreter::capture(const Block& block) {
  std::string out;
  execute(block, out);
  return out;
}

Interpreter::Scope* Interpreter::capture_scope() {
  for (Scope* scope = scope_; scope != nullptr && !scope->captured; scope = scope->parent) scope->captured = true;
  return scope_;
}

Interpreter::Flow Interpreter::execute(const Block& block, std::string& out) {
  for (const auto& statement : block) {
    const Flow flow = execute(*statement, out);
    if (flow != Flow::next) return flow;
  }
  return Flow::next;
}

Interpreter::Flow Interpreter::execute(const Statement& statement, std::string& out) {
  charge(1);
  line_ = statement.line;
  switch (statement.kind) {
    case StatementKind::text:
      write(out, statement.text);
      return Flow::next;
    case StatementKind::output:
      write(out, to_text(evaluate_output(*statement.expression)));
      return Flow::next;
    case StatementKind::condition:
      return execute(evaluate(*statement.expression).truthy() ? statement.body : statement.otherwise, out);
    case StatementKind::loop:
      return run_loop(statement, iterate(evaluate(*statement.expression)), 0, out);
    case StatementKind::assignment:
      assign(*statement.target, evaluate(*statement.expression));
      return Flow::next;
    case StatementKind::block_set: {
      std::string body;
      {
        const ScopeGuard guard(*this, scope_);
        body = capture(statement.body);
      }
      assign(*statement.target, apply_filters(statement.expression.get(), text(std::move(body))));
      return Flow::next;
    }
    case StatementKind::macro:
      scope_->set(statement.text, make_macro(statement, statement.text));
      return Flow::next;
    case StatementKind::call: {
      const Expression& call_expression = *statement.expression;
      Arguments given = arguments(call_expression);
      given.named.emplace_back("caller", make_macro(statement, "caller"));
      write(out, to_text(call(evaluate(*call_expression.operands[0]), given)));
      return Flow::next;
    }
    case StatementKind::filter: {
      const ScopeGuard guard(*this, scope_);
      write(out, to_text(apply_filters(statement.expression.get(), text(capture(statement.body)))));
      return Flow::next;
    }
    case StatementKind::with: {
      std::vector<Value> values;
      for (const auto& assignment : statement.assignments) values.push_back(evaluate(*assignment.second));
      const ScopeGuard guard(*this, scope_);
      for (std::size_t i = 0; i < values.size(); ++i) assign(*statement.assignments[i].first, values[i]);
      return execute(statement.body, out);
    }
    case StatementKind::scope: {
      const ScopeGuard guard(*this, statement.sees_top_alone ? scopes_.front().get() : scope_);
      return execute(statement.body, out);
    }
    case StatementKind::break_loop:
      return Flow::break_loop;
    case StatementKind::continue_loop:
      return Flow::continue_loop;
  }
  return Flow::next;
}

Interpreter::Flow Interpreter::run_loop(const Statement& statement, const std::vector<Value>& values, std::size_t depth,
                                        std::string& out) {
  auto loop = std::make_shared<Loop>();
  loop->depth = depth;
  if (statement.filter) {
    for (const Value& value : values) {
      const ScopeGuard guard(*this, scope_);
      assign(*statement.target, value);
      if (evaluate(*statement.filter).truthy()) loop->items.push_back(value);
    }
  } else {
    loop->items = values;
  }
  if (statement.recursive) {
    Scope* const scope = scope_;
    loop->recurse = std::make_shared<Function>();
    loop->recurse->name = "loop";
    loop->recurse->call = [&statement, scope, depth](Interpreter& self, const Arguments& given) {
      if (given.positional.size() != 1) throw Failure{"loop() takes one argument"};
      Scope* const before = self.scope_;
      self.scope_ = scope;
      const ScopeGuard guard(self, scope);
      std::string inner;
      self.run_loop(statement, self.iterate(given.positional[0]), depth + 1, inner);
      self.scope_ = before;
      return self.text(std::move(inner));
    };
  }
  bool completed = false;
  for (; loop->index < loop->items.size(); ++loop->index) {
    charge(1);
    const ScopeGuard guard(*this, scope_);
    scope_->set("loop", Value(loop));
    assign(*statement.target, loop->items[loop->index]);
    const Flow flow = execute(statement.body, out);
    completed = completed || flow == Flow::next;
    if (flow == Flow::break_loop) break;
  }
  loop->last_changed.reset();  // it may hold the loop itself
  if (completed) return Flow::next;
  // Jinja's else also runs where every round ended early, by continue or break.
  const ScopeGuard guard(*this, scope_);
  return execute(statement.otherwise, out);
}

Value Interpreter::make_macro(const Statement& statement, std::string name) {
  auto function = std::make_shared<Function>();
  function->name = std::move(name);
  Scope* const defined_in = capture_scope();
  function->call = [&statement, defined_in, name = function->name](Interpreter& self, const Arguments& given) {
    const int line = self.line_;
    std::vector<std::pair<std::string, Value>> rest;
    std::optional<Value> caller;
    const ScopeGuard guard(self, defined_in);
    for (const auto& argument : given.named) {
      const auto& key = argument.first;
      const auto& value = argument.second;
      const auto known = std::find_if(statement.parameters.begin(), statement.parameters.end(),
                                      [&](const Parameter& parameter) { return parameter.name == key; });
      if (known == statement.parameters.end()) {
        if (key == "caller") {
          caller = value;
        } else {
          rest.emplace_back(key, value);
        }
      } else if (static_cast<std::size_t>(known - statement.parameters.begin()) < given.positional.size()) {
        throw Failure{fmt::format("macro '{}' got several values for '{}'", name, key)};
      }
    }
    if (caller && !statement.takes_caller) throw Failure{fmt::format("macro '{}' never names its caller", name)};
    if (!rest.empty() && !statement.takes_kwargs)
      throw Failure{fmt::format("macro '{}' takes no argument '{}'", name, rest.front().first)};
    if (given.positional.size() > statement.parameters.size() && !statement.takes_varargs) {
      throw Failure{fmt::format("macro '{}' takes at most {} arguments", name, statement.parameters.size())};
    }
    for (std::size_t i = 0; i < statement.parameters.size(); ++i) {
      const Parameter& parameter = statement.parameters[i];
      std::optional<Value> value = given.get(i, parameter.name);
      if (!value && parameter.otherwise) value = self.evaluate(*parameter.otherwise);
      if (!value) value = Value(Undefined{fmt::format("parameter '{}' was not provided", parameter.name)});
      self.scope_->set(parameter.name, *std::move(value));
    }
    if (caller) self.scope_->set("caller", *caller);
    std::vector<Value> more;
    for (std::size_t i = statement.parameters.size(); i < given.positional.size(); ++i)
      more.push_back(given.positional[i]);
    self.scope_->set("varargs", Value::tuple(std::move(more)));
    auto named = std::make_shared<Dict>();
    for (auto& [key, value] : rest) named->set(Value(key), value);
    self.scope_->set("kwargs", Value(std::move(named)));
    std::string out;
    self.execute(statement.body, out);
    self.line_ = line;
    return self.text(std::move(out));
  };
  return Value(std::move(function));
}

void Interpreter::assign(const Expression& target, const Value& value) {
  if (target.kind == ExpressionKind::variable) {
    scope_->set(target.name, value);
    return;
  }
  if (target.kind == ExpressionKind::attribute) {
    const Value object = evaluate(*target.operands[0]);
    if (!object.is_dict() || !object.dict().is_namespace)
      throw Failure{"cannot assign attribute on non-namespace object"};
    if (target.name.starts_with('_')) throw Failure{fmt::format("'{}' can't be stored on a namespace", target.name)};
    object.dict().set(Value(target.name), value);
    return;
  }
  const std::vector<Value> values = iterate(value);
  if (values.size() != target.operands.size()) {
    throw Failure{fmt::format("expected {} values to unpack, got {}", target.operands.size(), values.size())};
  }
  for (std::size_t i = 0; i < values.size(); ++i) assign(*target.operands[i], values[i]);
}

Value Interpreter::lookup(const std::string& name) {
  for (Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    if (const Value* found = scope->find(name)) return *found;
  }
  return global(name);
}

Value Interpreter::call(const Value& function, const Arguments& given) {
  expect_defined(function);
  if (function.is_loop() && function.loop().recurse) return function.loop().recurse->call(*this, given);
  if (!function.is_function()) throw Failure{fmt::format("'{}' object is not callable", function.type_name())};
  return function.function().call(*this, given);
}

Value Interpreter::filter(const std::string& name, const Value& input, const Arguments& given) {
  return apply_filter(*this, name, input, given);
}

bool Interpreter::test(const std::string& name, const Value& input, const Arguments& given) {
  return apply_test(*this, name, input, given);
}

Value Interpreter::apply_filters(const Expression* chain, Value input) {
  if (chain == nullptr) return input;
  return filter(chain->name, apply_filters(chain->operands[0].get(), std::move(input)), arguments(*chain));
}

std::vector<Value> Interpreter::iterate(const Value& value) {
  if (value.is_list()) {
    charge(value.items().items.size());
    if (value.items().kind == SeriesKind::generator) return std::exchange(value.items().items, {});
    return value.items().items;
  }
  std::vector<Value> items;
  if (value.is_dict() && !value.dict().is_namespace) {
    for (const auto& entry : value.dict().entries) items.push_back(entry.first);
  } else if (value.is_string()) {
    charge(value.string().size());
    for (std::size_t at = 0; at < value.string().size();) {
      const std::size_t length = utf8_length(value.string()[at]);
      items.emplace_back(value.string().substr(at, length));
      at += length;
    }
  } else if (!value.is_undefined()) {
    throw Failure{fmt::format("'{}' object is not iterable", value.type_name())};
  }
  charge(items.size());
  return items;
}

Value Interpreter::make_namespace(const Arguments& given) {
  auto made = std::make_shared<Dict>();
  made->is_namespace = true;
  const auto add = [&](const Value& key, const Value& value) {
    if (key.is_string() && key.string().starts_with('_')) {
      throw Failure{fmt::format("'{}' can't be stored on a namespace", key.string())};
    }
    made->set(key, value);
  };
  for (const Value& each : given.positional) {
    if (!each.is_dict()) throw Failure{"namespace() takes a mapping"};
    for (const auto& [key, value] : each.dict().entries) add(key, value);
  }
  for (const auto& [name, value] : given.named) add(Value(name), value);
  namespaces_.push_back(made);
  return Value(std::move(made));
}

}  // namespace mobula::text::jinja
