#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "mobula/text/jinja/filters.hpp"
#include "mobula/text/jinja/lexer.hpp"
#include "mobula/text/jinja/strings.hpp"
#include "mobula/text/unicode/properties.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text::jinja {

std::string text_argument(const Arguments& given, std::size_t index, std::string_view name, std::string otherwise) {
  const auto value = given.get(index, name);
  return value ? expect_string(*value, fmt::format("argument '{}'", name)) : otherwise;
}

bool flag(const Arguments& given, std::size_t index, std::string_view name, bool otherwise) {
  const auto value = given.get(index, name);
  return value ? value->truthy() : otherwise;
}

std::int64_t integer_argument(const Arguments& given, std::size_t index, std::string_view name,
                              std::int64_t otherwise) {
  const auto value = given.get(index, name);
  return value ? expect_integer(*value, fmt::format("argument '{}'", name)) : otherwise;
}

Value length_of(const Value& value) {
  if (value.is_string()) return Value(static_cast<std::int64_t>(count_code_points(value.string())));
  if (value.is_list() && value.items().kind != SeriesKind::generator)
    return Value(static_cast<std::int64_t>(value.items().items.size()));
  if (value.is_dict() && !value.dict().is_namespace)
    return Value(static_cast<std::int64_t>(value.dict().entries.size()));
  if (value.is_undefined()) return Value(std::int64_t{0});
  throw Failure{fmt::format("object of type '{}' has no len()", value.type_name())};
}

Value to_integer(const Value& value, const Arguments& given) {
  expect_defined(value);
  const Value otherwise = given.get(0, "default").value_or(Value(std::int64_t{0}));
  const std::int64_t base = integer_argument(given, 1, "base", 10);
  if (value.is_integer() || value.is_bool()) return Value(value.integer());
  if (value.is_real()) {
    if (!(std::fabs(value.real()) < 9.2e18)) return otherwise;
    return Value(static_cast<std::int64_t>(value.real()));
  }
  if (!value.is_string()) return otherwise;
  std::string digits(strip(value.string(), "", true, true));
  digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
  std::size_t begin = digits.starts_with('-') || digits.starts_with('+');
  const bool negative = digits.starts_with('-');
  const std::string mark = lower(digits.substr(begin, 2));
  if ((base == 16 && mark == "0x") || (base == 8 && mark == "0o") || (base == 2 && mark == "0b")) begin += 2;
  std::int64_t number = 0;
  const char* first = digits.data() + begin;
  const char* last = digits.data() + digits.size();
  if (base >= 2 && base <= 36) {
    const auto [end, error] = std::from_chars(first, last, number, static_cast<int>(base));
    if (error == std::errc{} && end == last && first != last) return Value(negative ? -number : number);
  }
  double real = 0;
  const auto [end, error] = std::from_chars(first, last, real);
  if (error == std::errc{} && end == last && std::fabs(real) < 9.2e18)
    return Value(static_cast<std::int64_t>(negative ? -real : real));
  return otherwise;
}

Value to_real(const Value& value, const Arguments& given) {
  expect_defined(value);
  if (value.is_number()) return Value(value.real());
  if (value.is_string()) {
    std::string_view digits = strip(value.string(), "", true, true);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    double real = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), real);
    if (error == std::errc{} && end == digits.data() + digits.size()) return Value(real);
  }
  return given.get(0, "default").value_or(Value(0.0));
}

Value indent(Interpreter& self, const Value& value, const Arguments& given) {
  const auto width = given.get(0, "width");
  std::string space(4, ' ');
  if (width && width->is_string()) {
    space = width->string();
  } else if (width) {
    const std::int64_t count = expect_integer(*width, "argument 'width'");
    self.charge(static_cast<std::size_t>(std::max<std::int64_t>(count, 0)));
    space.assign(static_cast<std::size_t>(std::max<std::int64_t>(count, 0)), ' ');
  }
  const bool blank = flag(given, 2, "blank", false);
  expect_defined(value);
  if (!value.is_string()) throw Failure{fmt::format("indent takes a string, not {}", value.type_name())};
  const std::string text = to_text(value) + "\n";
  const std::vector<std::string> lines = split_lines(text, false);
  std::string out = flag(given, 1, "first", false) ? space : "";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      out += '\n';
      if (blank || !lines[i].empty()) out += space;
    }
    self.charge(lines[i].size() + space.size());
    out += lines[i];
  }
  return Value(std::move(out));
}

Value round_number(const Value& value, const Arguments& given) {
  expect_defined(value);
  if (!value.is_number()) throw Failure{fmt::format("round takes a number, not {}", value.type_name())};
  const std::int64_t precision = std::clamp<std::int64_t>(integer_argument(given, 0, "precision", 0), -300, 300);
  const std::string method = text_argument(given, 1, "method", "common");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return Value(std::ceil(value.real() * scale) / scale);
  if (method == "floor") return Value(std::floor(value.real() * scale) / scale);
  if (method != "common") throw Failure{"method must be common, ceil or floor"};
  if (!value.is_real() && precision >= 0) return Value(value.integer());
  if (!value.is_real()) {
    return Value(static_cast<std::int64_t>(std::nearbyint(value.real() * scale) / scale));
  }
  if (precision < 0) return Value(std::nearbyint(value.real() * scale) / scale);
  // Python rounds the exact decimal value, half to even: what printing does.
  return Value(std::stod(fmt::format("{:.{}f}", value.real(), std::min<std::int64_t>(precision, 300))));
}

Value truncate(Interpreter& self, const Value& value, const Arguments& given) {
  const std::string text = value.is_string() ? value.string() : "";
  const std::int64_t length = integer_argument(given, 0, "length", 255);
  const std::string end = text_argument(given, 2, "end", "...");
  const std::int64_t leeway =
      given.get(3, "leeway") && !given.get(3, "leeway")->is_none() ? integer_argument(given, 3, "leeway", 5) : 5;
  const std::int64_t size = length_of(value).integer();
  if (size <= length + leeway) return value;
  if (!value.is_string()) throw Failure{fmt::format("truncate takes a string, not {}", value.type_name())};
  const std::int64_t keep = length - static_cast<std::int64_t>(count_code_points(end));
  if (keep < 0) throw Failure{"truncate's length is shorter than its end"};
  std::size_t at = 0;
  for (std::int64_t i = 0; i < keep; ++i) next_code_point(text, at);
  std::string kept = text.substr(0, at);
  if (!flag(given, 1, "killwords", false)) {
    const std::size_t space = kept.rfind(' ');
    if (space != std::string::npos) kept.resize(space);
  }
  return self.text(kept + end);
}

Value title_words(Interpreter& self, const Value& value) {
  // Words begin behind white space, hyphens and opening brackets.
  std::string out;
  const std::string text = to_text(value);
  std::size_t begin = 0;  // of a word
  const auto end_word = [&](std::size_t end) {
    if (begin == end) return;
    const std::string_view word = std::string_view(text).substr(begin, end - begin);
    const std::size_t first = utf8_length(word[0]);
    out += upper(word.substr(0, first)) + lower(word.substr(first));
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t from = at;
    const char32_t c = next_code_point(text, at);
    if (!is_python_space(c) && std::u32string_view(U"-({[<").find(c) == std::u32string_view::npos) continue;
    end_word(from);
    out.append(text, from, at - from);
    begin = at;
  }
  end_word(text.size());
  return self.text(std::move(out));
}

Value url_encode(Interpreter& self, const Value& value) {
  const auto quote = [](const std::string& text, bool plus) {
    std::string out;
    for (const char c : text) {
      const bool keep = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' || c == '-' ||
                        c == '~' || (c == '/' && !plus);
      if (keep && static_cast<unsigned char>(c) < 128) {
        out += c;
      } else if (c == ' ' && plus) {
        out += '+';
      } else {
        out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
      }
    }
    return out;
  };
  if (!value.is_dict() && !value.is_list()) return self.text(quote(to_text(value), false));
  std::string out;
  const Arguments none;
  const Value pairs = value.is_dict() ? call_method(self, value, "items", none) : value;
  for (const Value& pair : self.iterate(pairs)) {
    const std::vector<Value> both = self.iterate(pair);
    if (both.size() != 2) throw Failure{"urlencode takes pairs"};
    if (!out.empty()) out += '&';
    out += quote(to_text(both[0]), true) + '=' + quote(to_text(both[1]), true);
  }
  return self.text(std::move(out));
}

Value to_json(Interpreter& self, const Value& value, const Arguments& given) {
  JsonFormat format;
  format.ensure_ascii = flag(given, 0, "ensure_ascii", false);
  if (const auto indent = given.get(1, "indent"); indent && !indent->is_none()) {
    if (indent->is_string()) {
      format.indent = indent->string();
    } else {
      const std::int64_t width = std::clamp<std::int64_t>(expect_integer(*indent, "argument 'indent'"), 0, 1000);
      format.indent = std::string(static_cast<std::size_t>(width), ' ');
    }
  }
  if (const auto separators = given.get(2, "separators"); separators && !separators->is_none()) {
    const std::vector<Value> both = self.iterate(*separators);
    if (both.size() != 2) throw Failure{"separators are two texts"};
    format.separators = {expect_string(both[0], "a separator"), expect_string(both[1], "a separator")};
  }
  format.sort_keys = flag(given, 3, "sort_keys", false);
  return self.text(to_json_text(value, format));
}

// Runs of letters, digits and underscores.
std::int64_t count_words(const std::string& text) {
  std::int64_t count = 0;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    const bool word = c == '_' || is_letter(c) || is_number(c);
    count += word && !inside;
    inside = word;
  }
  return count;
}

Value strip_tags(Interpreter& self, const Value& value) {
  std::string text = to_text(value);
  for (std::size_t begin = text.find("<!--"); begin != std::string::npos; begin = text.find("<!--", begin)) {
    const std::size_t end = text.find("-->", begin);
    if (end == std::string::npos) break;
    text.erase(begin, end + 3 - begin);
  }
  for (std::size_t begin = text.find('<'); begin != std::string::npos; begin = text.find('<', begin)) {
    const std::size_t end = text.find('>', begin);
    if (end == std::string::npos) break;
    text.erase(begin, end + 1 - begin);
  }
  std::string out;
  for (const std::string& word : split_space(text, -1)) out += (out.empty() ? "" : " ") + word;
  return self.text(std::move(out));
}

}  // namespace mobula::text::jinja
