#include <fmt/format.h>

#include <map>

#include "mobula/text/jinja/interpreter.hpp"
#include "mobula/text/jinja/strings.hpp"

namespace mobula::text::jinja {
namespace {

using Test = bool (*)(Interpreter&, const Value&, const Arguments&);

Value argument(const Arguments& given) {
  const auto value = given.get(0, "other");
  if (!value) throw Failure{"the test takes an argument"};
  return *value;
}

Value remainder(Interpreter& self, const Value& value, const Value& divisor) {
  expect_defined(value);
  if (!value.is_number()) throw Failure{fmt::format("the value must be a number, not {}", value.type_name())};
  return self.arithmetic("%", value, divisor);
}

bool is_iterable(const Value& value) {
  return value.is_string() || value.is_list() || (value.is_dict() && !value.dict().is_namespace) ||
         value.is_undefined();
}

bool is_sequence(const Value& value) {
  return is_iterable(value) && (!value.is_list() || value.items().indexed());
}

const std::map<std::string, Test, std::less<>>& tests() {
  using I = Interpreter;
  using V = const Value;
  using A = const Arguments;
  static const Value kTwo(std::int64_t{2});
  static const Test kEqual = [](I&, V& v, A& a) { return equal(v, argument(a)); };
  static const Test kUnequal = [](I&, V& v, A& a) { return !equal(v, argument(a)); };
  static const Test kGreater = [](I&, V& v, A& a) { return compare(v, argument(a)) > 0; };
  static const Test kGreaterEqual = [](I&, V& v, A& a) { return compare(v, argument(a)) >= 0; };
  static const Test kLess = [](I&, V& v, A& a) { return compare(v, argument(a)) < 0; };
  static const Test kLessEqual = [](I&, V& v, A& a) { return compare(v, argument(a)) <= 0; };
  static const std::map<std::string, Test, std::less<>> kTests = {
      {"odd", [](I& self, V& v, A&) { return equal(remainder(self, v, kTwo), Value(std::int64_t{1})); }},
      {"even", [](I& self, V& v, A&) { return !remainder(self, v, kTwo).truthy(); }},
      {"divisibleby", [](I& self, V& v, A& a) { return !remainder(self, v, argument(a)).truthy(); }},
      {"defined", [](I&, V& v, A&) { return !v.is_undefined(); }},
      {"undefined", [](I&, V& v, A&) { return v.is_undefined(); }},
      {"filter", [](I&, V& v, A&) { return v.is_string() && has_filter(v.string()); }},
      {"test", [](I&, V& v, A&) { return v.is_string() && has_test(v.string()); }},
      {"none", [](I&, V& v, A&) { return v.is_none(); }},
      {"boolean", [](I&, V& v, A&) { return v.is_bool(); }},
      {"false", [](I&, V& v, A&) { return v.is_bool() && !v.boolean(); }},
      {"true", [](I&, V& v, A&) { return v.is_bool() && v.boolean(); }},
      {"integer", [](I&, V& v, A&) { return v.is_integer(); }},
      {"float", [](I&, V& v, A&) { return v.is_real(); }},
      {"lower", [](I& self, V& v, A&) { return call_method(self, Value(to_text(v)), "islower", {}).boolean(); }},
      {"upper", [](I& self, V& v, A&) { return call_method(self, Value(to_text(v)), "isupper", {}).boolean(); }},
      {"string", [](I&, V& v, A&) { return v.is_string(); }},
      {"mapping", [](I&, V& v, A&) { return v.is_dict() && !v.dict().is_namespace; }},
      {"number", [](I&, V& v, A&) { return v.is_number(); }},
      {"sequence", [](I&, V& v, A&) { return is_sequence(v); }},
      {"iterable", [](I&, V& v, A&) { return is_iterable(v); }},
      {"callable", [](I&, V& v, A&) { return v.is_function() || v.is_loop() || v.is_undefined(); }},
      {"sameas", [](I&, V& v, A& a) { return v.same(argument(a)); }},
      {"escaped", [](I&, V&, A&) { return false; }},
      {"in",
       [](I& self, V& v, A& a) {
         const Value container = argument(a);
         if (container.is_string()) return container.string().find(expect_string(v, "the value")) != std::string::npos;
         for (const Value& each : self.iterate(container)) {
           if (equal(each, v)) return true;
         }
         return false;
       }},
      {"eq", kEqual},
      {"equalto", kEqual},
      {"==", kEqual},
      {"ne", kUnequal},
      {"!=", kUnequal},
      {"gt", kGreater},
      {">", kGreater},
      {"greaterthan", kGreater},
      {"ge", kGreaterEqual},
      {">=", kGreaterEqual},
      {"lt", kLess},
      {"<", kLess},
      {"lessthan", kLess},
      {"le", kLessEqual},
      {"<=", kLessEqual},
  };
  return kTests;
}

}  // namespace

bool has_test(std::string_view name) {
  return tests().contains(name);
}

bool apply_test(Interpreter& interpreter, const std::string& name, const Value& input, const Arguments& given) {
  const auto found = tests().find(name);
  if (found == tests().end()) throw Failure{fmt::format("No test named '{}'.", name)};
  return found->second(interpreter, input, given);
}

}  // namespace mobula::text::jinja
