#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>

#include "mobula/text/jinja/interpreter.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text::jinja {
namespace {

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
    if (!value.is_real() && value.is_number() && value.integer() >= 0 && value.integer() <= 0x10FFFF) {
      append_utf8(body, static_cast<char32_t>(value.integer()));
    } else if (value.is_string() && count_code_points(value.string()) == 1) {
      body = value.string();
    } else {
      throw Failure{"%c takes a code point or one character"};
    }
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

// [[fill]align][sign][0][width][grouping][.precision][type]
struct FormatSpec {
  std::string fill = " ";
  char align = 0;
  char sign = 0;
  char grouping = 0;
  int width = 0;
  int precision = -1;
  char type = 0;
};

FormatSpec parse_spec(const std::string& text) {
  FormatSpec spec;
  std::size_t at = 0;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  const std::size_t first = text.empty() ? 0 : utf8_length(text[0]);
  if (text.size() > first && is_align(text[first])) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    at = first + 1;
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[at++];
  }
  const auto number = [&](int most) {
    int value = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at)
      value = std::min(value * 10 + (text[at] - '0'), most);
    return value;
  };
  if (at < text.size() && std::string_view("+- ").find(text[at]) != std::string_view::npos) spec.sign = text[at++];
  if (at < text.size() && text[at] == '0') {
    if (spec.align == 0) {
      spec.fill.assign(1, '0');
      spec.align = '=';
    }
    ++at;
  }
  spec.width = number(100000);
  if (at < text.size() && (text[at] == ',' || text[at] == '_')) spec.grouping = text[at++];
  if (at < text.size() && text[at] == '.') {
    ++at;
    if (at >= text.size() || text[at] < '0' || text[at] > '9') throw Failure{"Format specifier missing precision"};
    spec.precision = number(300);
  }
  if (at < text.size()) spec.type = text[at++];
  if (at < text.size()) throw Failure{fmt::format("Invalid format specifier '{}'", text)};
  return spec;
}

// The digits of a number without its sign.
std::string magnitude(const Value& value, const FormatSpec& spec) {
  const char type = spec.type;
  if (!value.is_real() && (type == 0 || std::string_view("dxXob").find(type) != std::string_view::npos)) {
    if (spec.precision >= 0) throw Failure{"Precision not allowed in integer format specifier"};
    const std::int64_t number = value.integer();
    const auto size = number < 0 ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number);
    return type == 'x'   ? fmt::format("{:x}", size)
           : type == 'X' ? fmt::format("{:X}", size)
           : type == 'o' ? fmt::format("{:o}", size)
           : type == 'b' ? fmt::format("{:b}", size)
                         : fmt::format("{}", size);
  }
  const double number = std::fabs(value.real());
  if (type == 0 && spec.precision < 0) return format_real(number);
  if (type != 0 && std::string_view("eEfFgG%").find(type) == std::string_view::npos) {
    throw Failure{fmt::format("Unknown format code '{}' for object of type '{}'", type, value.type_name())};
  }
  char pattern[] = "%.*f";
  pattern[3] = type == '%' ? 'f' : type == 0 ? 'g' : type;
  char buffer[768];
  const int size = std::snprintf(buffer, sizeof buffer, pattern, spec.precision < 0 ? 6 : spec.precision,
                                 type == '%' ? number * 100 : number);
  std::string digits(buffer, static_cast<std::size_t>(std::min<int>(size, sizeof buffer - 1)));
  if (type == 0 && digits.find_first_of(".en") == std::string::npos) digits += ".0";
  if (type == '%') digits += '%';
  return digits;
}

void group_digits(std::string& digits, char separator, std::size_t group) {
  std::size_t end = 0;
  while (end < digits.size() && std::isxdigit(static_cast<unsigned char>(digits[end])) != 0 && digits[end] != 'e')
    ++end;
  for (std::size_t at = end; at > group; at -= group) digits.insert(at - group, 1, separator);
}

// Formats as Python's format(value, spec) behind a conversion (!s, !r, or none).
std::string format_value(const Value& value, const std::string& text, char conversion) {
  if (conversion != 0) {
    if (conversion != 's' && conversion != 'r' && conversion != 'a')
      throw Failure{fmt::format("Unknown conversion specifier {}", conversion)};
    return format_value(Value(conversion == 's' ? to_text(value) : to_repr(value)), text, 0);
  }
  if (text.empty()) return to_text(value);
  if (!value.is_string() && !value.is_number())
    throw Failure{fmt::format("unsupported format string passed to {}.__format__", value.type_name())};
  FormatSpec spec = parse_spec(text);
  std::string sign;
  std::string body;
  if (value.is_string()) {
    if (spec.type != 0 && spec.type != 's')
      throw Failure{fmt::format("Unknown format code '{}' for object of type 'str'", spec.type)};
    if (spec.sign != 0) throw Failure{"Sign not allowed in string format specifier"};
    if (spec.grouping != 0) throw Failure{fmt::format("Cannot specify '{}' with 's'.", spec.grouping)};
    if (spec.align == '=') {
      if (text[0] == '=' || text[utf8_length(text[0])] == '=')
        throw Failure{"'=' alignment not allowed in string format specifier"};
      spec.align = '<';
    }
    body = value.string();
    if (spec.precision >= 0) {
      std::size_t at = 0;
      for (int i = 0; i < spec.precision && at < body.size(); ++i) at += utf8_length(body[at]);
      body.resize(at);
    }
  } else {
    const bool negative =
        value.is_real() ? std::signbit(value.real()) && !std::isnan(value.real()) : value.integer() < 0;
    if (negative || spec.sign == '+' || spec.sign == ' ') sign += negative ? '-' : spec.sign;
    body = magnitude(value, spec);
    const bool words = std::string_view("xXob").find(spec.type) != std::string_view::npos && spec.type != 0;
    if (spec.grouping != 0) group_digits(body, spec.grouping, words ? 4 : 3);
  }
  const std::size_t size = count_code_points(body) + sign.size();
  const std::size_t pad = static_cast<std::size_t>(spec.width) > size ? static_cast<std::size_t>(spec.width) - size : 0;
  const char align = spec.align != 0 ? spec.align : value.is_string() ? '<' : '>';
  const std::size_t before = align == '^' ? pad / 2 : align == '<' ? 0 : pad;
  std::string out;
  if (align == '=') out += sign;
  for (std::size_t i = 0; i < before; ++i) out += spec.fill;
  if (align != '=') out += sign;
  out += body;
  for (std::size_t i = before; i < pad; ++i) out += spec.fill;
  return out;
}

}  // namespace

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
      if (end == std::string::npos || mapping == nullptr || !mapping->is_dict())
        throw Failure{"format requires a mapping"};
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
    char conversion = 0;
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
    const std::string body = format_value(*value, spec, conversion);
    interpreter.charge(body.size());
    out += body;
  }
  return out;
}

}  // namespace mobula::text::jinja
