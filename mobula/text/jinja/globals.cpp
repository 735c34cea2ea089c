#include <fmt/format.h>

#include <cmath>
#include <ctime>
#include <map>

#include "mobula/text/jinja/interpreter.hpp"
#include "mobula/text/unicode/utf8.hpp"

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
  return Value::list(std::move(items));
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

// Formats one value as Python's % conversions do: flags, width, precision, type.
std::string convert(const Value& value, const std::string& flags, int width, int precision, char type) {
  std::string body;
  if (type == 's' || type == 'r' || type == 'a') {
    body = type == 's' ? to_text(value) : to_repr(value);
    if (precision >= 0) {
      std::size_t at = 0;
      for (int i = 0; i < precision && at < body.size(); ++i) at += utf8_length(body[at]);
      body.resize(at);
    }
  } else if (type == 'c') {
    body = to_text(value);
  } else {
    expect_defined(value);
    if (!value.is_number())
      throw Failure{fmt::format("%{} format: a real number is required, not {}", type, value.type_name())};
    const bool whole = type == 'd' || type == 'i' || type == 'u' || type == 'x' || type == 'X' || type == 'o';
    if (whole) {
      const std::int64_t number =
          value.is_real() ? static_cast<std::int64_t>(std::clamp(value.real(), -9.2e18, 9.2e18)) : value.integer();
      const std::uint64_t magnitude =
          number < 0 ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number);
      body = type == 'x'   ? fmt::format("{:x}", magnitude)
             : type == 'X' ? fmt::format("{:X}", magnitude)
             : type == 'o' ? fmt::format("{:o}", magnitude)
                           : fmt::format("{}", magnitude);
      if (number < 0) body.insert(body.begin(), '-');
    } else {
      char pattern[] = "%.*f";
      pattern[3] = type;
      char buffer[512];
      const int size = std::snprintf(buffer, sizeof buffer, pattern, precision < 0 ? 6 : precision, value.real());
      body.assign(buffer, static_cast<std::size_t>(std::min<int>(size, sizeof buffer - 1)));
    }
    if (body[0] != '-' && flags.find('+') != std::string::npos) body.insert(body.begin(), '+');
    if (body[0] != '-' && body[0] != '+' && flags.find(' ') != std::string::npos) body.insert(body.begin(), ' ');
  }
  const std::size_t size = count_code_points(body);
  if (static_cast<int>(size) >= width) return body;
  const std::string pad(static_cast<std::size_t>(width) - size, ' ');
  if (flags.find('-') != std::string::npos) return body + pad;
  if (flags.find('0') != std::string::npos && type != 's' && type != 'r') {
    const std::size_t sign = body[0] == '-' || body[0] == '+';
    return body.insert(sign, pad.size(), '0');
  }
  return pad + body;
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

std::string percent_format(const std::string& format, const std::vector<Value>& values, const Value* mapping) {
  std::string out;
  std::size_t next = 0;
  const auto take = [&]() -> const Value& {
    if (next >= values.size()) throw Failure{"not enough arguments for format string"};
    return values[next++];
  };
  for (std::size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%') {
      out += format[at];
      continue;
    }
    if (++at < format.size() && format[at] == '%') {
      out += '%';
      continue;
    }
    std::optional<Value> named;
    if (at < format.size() && format[at] == '(') {
      const std::size_t end = format.find(')', at);
      if (end == std::string::npos || mapping == nullptr) throw Failure{"format requires a mapping"};
      const Value* found = mapping->dict().find(Value(format.substr(at + 1, end - at - 1)));
      if (found == nullptr) throw Failure{fmt::format("'{}'", format.substr(at + 1, end - at - 1))};
      named = *found;
      next = values.size();
      at = end + 1;
    }
    std::string flags;
    while (at < format.size() && std::string_view("+- 0#").find(format[at]) != std::string_view::npos)
      flags += format[at++];
    const auto number = [&](int otherwise) {
      if (at < format.size() && format[at] == '*') {
        ++at;
        return static_cast<int>(std::clamp<std::int64_t>(expect_integer(take(), "*"), 0, 1000));
      }
      int value = otherwise;
      for (; at < format.size() && format[at] >= '0' && format[at] <= '9'; ++at)
        value = std::min(std::max(value, 0) * 10 + (format[at] - '0'), 1000);
      return value;
    };
    const int width = number(0);
    int precision = -1;
    if (at < format.size() && format[at] == '.') {
      ++at;
      precision = number(0);
    }
    if (at >= format.size()) throw Failure{"incomplete format"};
    if (std::string_view("sradiuxXofFeEgGc").find(format[at]) == std::string_view::npos) {
      throw Failure{fmt::format("unsupported format character '{}'", format[at])};
    }
    out += convert(named ? *named : take(), flags, width, precision, format[at]);
  }
  if (mapping == nullptr && next < values.size()) throw Failure{"not all arguments converted during string formatting"};
  return out;
}

std::string brace_format(Interpreter& interpreter, const std::string& format, const Arguments& given) {
  std::string out;
  std::size_t automatic = 0;
  for (std::size_t at = 0; at < format.size(); ++at) {
    const char c = format[at];
    if ((c == '{' || c == '}') && at + 1 < format.size() && format[at + 1] == c) {
      out += c;
      ++at;
      continue;
    }
    if (c == '}') throw Failure{"Single '}' encountered in format string"};
    if (c != '{') {
      out += c;
      continue;
    }
    const std::size_t end = format.find('}', at);
    if (end == std::string::npos) throw Failure{"expected '}' before end of string"};
    std::string field = format.substr(at + 1, end - at - 1);
    at = end;
    std::string spec;
    if (const std::size_t colon = field.find(':'); colon != std::string::npos) {
      spec = field.substr(colon + 1);
      field.resize(colon);
    }
    char conversion = 's';
    if (field.size() >= 2 && field[field.size() - 2] == '!') {
      conversion = field.back();
      field.resize(field.size() - 2);
    }
    const std::size_t name_end = field.find_first_of(".[");
    const std::string name = field.substr(0, name_end);
    const bool digits = name.find_first_not_of("0123456789") == std::string::npos;
    std::optional<Value> value;
    if (digits && name.size() < 6) {
      const std::size_t index = name.empty() ? automatic++ : std::stoul(name);
      if (index >= given.positional.size())
        throw Failure{fmt::format("Replacement index {} out of range for positional args tuple", index)};
      value = given.positional[index];
    } else {
      value = given.get(1 << 20, name);
      if (!value) throw Failure{fmt::format("'{}'", name)};
    }
    for (std::size_t rest = name_end; rest < field.size();) {
      const bool bracket = field[rest] == '[';
      std::size_t stop = bracket ? field.find(']', rest) : field.find_first_of(".[", rest + 1);
      if (bracket && stop == std::string::npos) throw Failure{"expected ']' in format string"};
      stop = std::min(stop, field.size());
      const std::string key = field.substr(rest + 1, stop - rest - 1);
      const bool index =
          bracket && !key.empty() && key.size() < 6 && key.find_first_not_of("0123456789") == std::string::npos;
      value = index ? interpreter.subscript(*value, Value(static_cast<std::int64_t>(std::stol(key))))
                    : interpreter.subscript(*value, Value(key));
      rest = bracket ? stop + 1 : stop;
    }
    // [[fill]align][sign][0][width][.precision][type]
    std::size_t s = 0;
    std::string fill = " ";
    char align = 0;
    if (!spec.empty()) {
      const std::size_t first = utf8_length(spec[0]);
      if (spec.size() > first && std::string_view("<>^").find(spec[first]) != std::string_view::npos) {
        fill = spec.substr(0, first);
        align = spec[first];
        s = first + 1;
      } else if (std::string_view("<>^").find(spec[0]) != std::string_view::npos) {
        align = spec[0];
        s = 1;
      }
    }
    std::string flags;
    while (s < spec.size() && std::string_view("+- 0").find(spec[s]) != std::string_view::npos) flags += spec[s++];
    int width = 0;
    for (; s < spec.size() && spec[s] >= '0' && spec[s] <= '9'; ++s)
      width = std::min(width * 10 + (spec[s] - '0'), 1000);
    int precision = -1;
    if (s < spec.size() && spec[s] == '.') {
      precision = 0;
      for (++s; s < spec.size() && spec[s] >= '0' && spec[s] <= '9'; ++s)
        precision = std::min(precision * 10 + (spec[s] - '0'), 300);
    }
    char type = s < spec.size() ? spec[s++] : 0;
    if (s < spec.size()) throw Failure{"Invalid format specifier"};
    if (type == 0) type = value->is_real() && precision >= 0 ? 'g' : 's';
    if (std::string_view("sdxXofFeEgG").find(type) == std::string_view::npos) throw Failure{"Unknown format code"};
    if (type == 's' && conversion == 'r') type = 'r';
    const bool number = value->is_number() && !value->is_bool();
    const bool zeros = flags.find('0') != std::string::npos && align == 0;
    std::string body = convert(*value, flags, zeros ? width : 0, precision, type);
    const std::size_t size = count_code_points(body);
    if (static_cast<int>(size) < width) {
      const std::size_t pad = static_cast<std::size_t>(width) - size;
      const std::size_t before = align == '^' ? pad / 2 : align == '>' || (align == 0 && number) ? pad : 0;
      std::string padded;
      for (std::size_t i = 0; i < before; ++i) padded += fill;
      padded += body;
      for (std::size_t i = before; i < pad; ++i) padded += fill;
      body = std::move(padded);
    }
    interpreter.charge(body.size());
    out += body;
  }
  return out;
}

}  // namespace mobula::text::jinja
