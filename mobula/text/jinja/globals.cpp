#include <fmt/format.h>

#include <cmath>
#include <ctime>
#include <map>

#include "mobula/text/jinja/interpreter.hpp"

namespace mobula::text::jinja {
namespace {

constexpr std::int64_t kMaxRange = 100000;  // jinja2's sandbox allows as much

Value range(Interpreter& self, const Arguments& given) {
  if (given.positional.empty() || given.positional.size() > 3) throw Failure{"range takes one to three numbers"};
  std::vector<std::int64_t> numbers;
  for (const Value& each : given.positional) numbers.push_back(expect_integer(each, "an argument of range"));
  const std::int64_t first = numbers.size() > 1 ? numbers[0] : 0;
  const std::int64_t last = numbers.size() > 1 ? numbers[1] : numbers[0];
  const std::int64_t step = numbers.size() > 2 ? numbers[2] : 1;
  if (step == 0) throw Failure{"range() arg 3 must not be zero"};
  const double count = std::ceil((static_cast<double>(last) - static_cast<double>(first)) / static_cast<double>(step));
  if (count > static_cast<double>(kMaxRange))
    throw Failure{fmt::format("range is too big, at most {} items are possible", kMaxRange)};
  std::vector<Value> items;
  std::int64_t value = first;
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(count); ++i, value += step) items.emplace_back(value);
  self.charge(items.size());
  return Value::list(std::move(items), SeriesKind::range);
}

Value dict(const Arguments& given) {
  auto made = std::make_shared<Dict>();
  for (const Value& each : given.positional) {
    if (!each.is_dict()) throw Failure{"dict() takes a mapping"};
    for (const auto& [key, value] : each.dict().entries) made->set(key, value);
  }
  for (const auto& [name, value] : given.named) made->set(Value(name), value);
  return Value(std::move(made));
}

Value strftime_now(Interpreter& self, const Arguments& given) {
  const auto format = given.get(0, "format");
  if (!format) throw Failure{"strftime_now takes a format"};
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::string out(256 + expect_string(*format, "the format").size() * 16, '\0');
  out.resize(std::strftime(out.data(), out.size(), format->string().c_str(), &local));
  return self.text(std::move(out));
}

Value function(std::string name, Value (*call)(Interpreter&, const Arguments&)) {
  auto made = std::make_shared<Function>();
  made->name = std::move(name);
  made->call = call;
  return Value(std::move(made));
}

}  // namespace

Value global(const std::string& name) {
  static const std::map<std::string, Value, std::less<>> kGlobals = {
      {"range", function("range", range)},
      {"dict", function("dict", [](Interpreter&, const Arguments& given) { return dict(given); })},
      {"namespace",
       function("namespace", [](Interpreter& self, const Arguments& given) { return self.make_namespace(given); })},
      {"raise_exception", function("raise_exception",
                                   [](Interpreter&, const Arguments& given) -> Value {
                                     const auto message = given.get(0, "message");
                                     throw Failure{message ? to_text(*message) : "raise_exception()"};
                                   })},
      {"strftime_now", function("strftime_now", strftime_now)},
  };
  const auto found = kGlobals.find(name);
  return found == kGlobals.end() ? Value(Undefined{name}) : found->second;
}

}  // namespace mobula::text::jinja
