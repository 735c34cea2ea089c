#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "mobula/text/jinja/interpreter.hpp"
#include "mobula/text/jinja/strings.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text::jinja {
namespace {

using Filter = Value (*)(Interpreter&, const Value&, const Arguments&);

std::string text_of(const Value& value) {
  return to_text(value);
}

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

// Follows "a.b.0" through an item, as attribute= and selectattr do.
Value dotted(Interpreter& self, Value item, const Value& path) {
  if (path.is_integer()) return self.subscript(item, path);
  for (const std::string& part : split_at(expect_string(path, "an attribute"), ".", -1)) {
    const bool digits =
        !part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    item = digits && part.size() < 10 ? self.subscript(item, Value(static_cast<std::int64_t>(std::stoll(part))))
                                      : self.subscript(item, Value(part));
  }
  return item;
}

// Lower case where case doesn't count.
Value sort_key(Interpreter& self, const Value& item, const std::optional<Value>& attribute, bool case_sensitive,
               const std::optional<Value>& otherwise = std::nullopt) {
  std::vector<Value> keys;
  if (attribute && !attribute->is_none()) {
    if (attribute->is_string() && attribute->string().find(',') != std::string::npos) {
      for (const std::string& each : split_at(attribute->string(), ",", -1))
        keys.push_back(dotted(self, item, Value(each)));
    } else {
      keys.push_back(dotted(self, item, *attribute));
    }
  } else {
    keys.push_back(item);
  }
  for (Value& key : keys) {
    if (key.is_undefined() && otherwise) key = *otherwise;
  }
  if (!case_sensitive) {
    for (Value& key : keys) {
      if (key.is_string()) key = Value(lower(key.string()));
    }
  }
  return keys.size() == 1 ? keys[0] : Value::list(std::move(keys));
}

std::vector<Value> sorted(Interpreter& self, std::vector<Value> items, const std::optional<Value>& attribute,
                          bool reverse, bool case_sensitive, const std::optional<Value>& otherwise = std::nullopt) {
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) {
    Value key = sort_key(self, item, attribute, case_sensitive, otherwise);
    keyed.emplace_back(std::move(key), std::move(item));
  }
  self.charge(keyed.size() * 8);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? compare(b.first, a.first) < 0 : compare(a.first, b.first) < 0;
  });
  items.clear();
  for (auto& each : keyed) items.push_back(std::move(each.second));
  return items;
}

Value length(const Value& value) {
  if (value.is_string()) return Value(static_cast<std::int64_t>(count_code_points(value.string())));
  if (value.is_list()) return Value(static_cast<std::int64_t>(value.items().items.size()));
  if (value.is_dict() && !value.dict().is_namespace)
    return Value(static_cast<std::int64_t>(value.dict().entries.size()));
  if (value.is_undefined()) return Value(std::int64_t{0});
  throw Failure{fmt::format("object of type '{}' has no len()", value.type_name())};
}

Value to_integer(const Value& value, const Arguments& given) {
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

Value join(Interpreter& self, const Value& value, const Arguments& given) {
  const std::string separator = given.get(0, "d") ? text_of(*given.get(0, "d")) : "";
  const auto attribute = given.get(1, "attribute");
  std::string out;
  bool first = true;
  for (const Value& each : self.iterate(value)) {
    if (!first) out += separator;
    first = false;
    const std::string part = text_of(attribute && !attribute->is_none() ? dotted(self, each, *attribute) : each);
    self.charge(part.size() + separator.size());
    out += part;
  }
  return Value(std::move(out));
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
  const std::string text = text_of(value) + "\n";
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

// select, reject, selectattr and rejectattr.
Value choose(Interpreter& self, const Value& value, const Arguments& given, bool wanted, bool by_attribute) {
  std::vector<Value> kept;
  const std::size_t test_at = by_attribute ? 1 : 0;
  if (by_attribute && given.positional.empty()) throw Failure{"an attribute's name is missing"};
  Arguments rest;
  rest.named = given.named;
  for (std::size_t i = test_at + 1; i < given.positional.size(); ++i) rest.positional.push_back(given.positional[i]);
  for (const Value& each : self.iterate(value)) {
    const Value item = by_attribute ? dotted(self, each, given.positional[0]) : each;
    const bool holds = given.positional.size() > test_at
                           ? self.test(expect_string(given.positional[test_at], "a test's name"), item, rest)
                           : item.truthy();
    if (holds == wanted) kept.push_back(each);
  }
  return Value::list(std::move(kept));
}

Value map(Interpreter& self, const Value& value, const Arguments& given) {
  std::vector<Value> mapped;
  const auto attribute = given.get(1 << 20, "attribute");
  for (const Value& each : self.iterate(value)) {
    if (given.positional.empty() && attribute) {
      Value item = dotted(self, each, *attribute);
      if (item.is_undefined()) item = given.get(1 << 20, "default").value_or(item);
      mapped.push_back(std::move(item));
    } else {
      if (given.positional.empty()) throw Failure{"map requires a filter argument"};
      Arguments rest;
      rest.named = given.named;
      rest.positional.assign(given.positional.begin() + 1, given.positional.end());
      mapped.push_back(self.filter(expect_string(given.positional[0], "a filter's name"), each, rest));
    }
  }
  return Value::list(std::move(mapped));
}

Value dict_sort(Interpreter& self, const Value& value, const Arguments& given) {
  if (!value.is_dict()) throw Failure{"dictsort takes a mapping"};
  const bool case_sensitive = flag(given, 0, "case_sensitive", false);
  const std::string by = text_argument(given, 1, "by", "key");
  if (by != "key" && by != "value") throw Failure{"you can only sort by either \"key\" or \"value\""};
  std::vector<Value> items;
  for (const auto& [key, item] : value.dict().entries) items.push_back(Value::list({key, item}, true));
  return Value::list(sorted(self, std::move(items), Value(std::int64_t{by == "value"}),
                            flag(given, 2, "reverse", false), case_sensitive));
}

Value unique(Interpreter& self, const Value& value, const Arguments& given) {
  std::vector<Value> seen;
  std::vector<Value> kept;
  for (const Value& each : self.iterate(value)) {
    const Value key = sort_key(self, each, given.get(1, "attribute"), flag(given, 0, "case_sensitive", false));
    self.charge(seen.size());
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& other) { return equal(other, key); })) continue;
    seen.push_back(key);
    kept.push_back(each);
  }
  return Value::list(std::move(kept));
}

Value extreme(Interpreter& self, const Value& value, const Arguments& given, bool largest) {
  const std::vector<Value> items = self.iterate(value);
  if (items.empty()) return Value(Undefined{"No aggregated item, sequence was empty."});
  const bool case_sensitive = flag(given, 0, "case_sensitive", false);
  const auto attribute = given.get(1, "attribute");
  Value best = items[0];
  Value best_key = sort_key(self, best, attribute, case_sensitive);
  for (const Value& each : items) {
    const Value key = sort_key(self, each, attribute, case_sensitive);
    if (largest ? compare(best_key, key) < 0 : compare(key, best_key) < 0) {
      best = each;
      best_key = key;
    }
  }
  return best;
}

Value sum(Interpreter& self, const Value& value, const Arguments& given) {
  Value total = given.get(1, "start").value_or(Value(std::int64_t{0}));
  const auto attribute = given.get(0, "attribute");
  for (const Value& each : self.iterate(value)) {
    total = self.arithmetic("+", total, attribute && !attribute->is_none() ? dotted(self, each, *attribute) : each);
  }
  return total;
}

Value group_by(Interpreter& self, const Value& value, const Arguments& given) {
  const auto attribute = given.get(0, "attribute");
  if (!attribute) throw Failure{"groupby takes an attribute"};
  const bool case_sensitive = flag(given, 2, "case_sensitive", false);
  const auto otherwise = given.get(1, "default");
  std::vector<Value> groups;
  std::optional<Value> last;
  for (const Value& each : sorted(self, self.iterate(value), attribute, false, case_sensitive, otherwise)) {
    Value key = dotted(self, each, *attribute);
    if (key.is_undefined() && otherwise) key = *otherwise;
    const Value compared = !case_sensitive && key.is_string() ? Value(lower(key.string())) : key;
    if (!last || !equal(*last, compared)) {
      groups.push_back(Value::list({key, Value::list({})}, true));
      last = compared;
    }
    groups.back().items().items[1].items().items.push_back(each);
  }
  return Value::list(std::move(groups));
}

Value batch(Interpreter& self, const Value& value, const Arguments& given) {
  const std::int64_t count = integer_argument(given, 0, "linecount", 0);
  if (count < 1) throw Failure{"batch takes a number of at least 1"};
  const auto fill = given.get(1, "fill_with");
  std::vector<Value> rows;
  std::vector<Value> row;
  for (const Value& each : self.iterate(value)) {
    if (static_cast<std::int64_t>(row.size()) == count) rows.push_back(Value::list(std::exchange(row, {})));
    row.push_back(each);
  }
  if (!row.empty()) {
    while (fill && !fill->is_none() && static_cast<std::int64_t>(row.size()) < count) {
      self.charge(1);
      row.push_back(*fill);
    }
    rows.push_back(Value::list(std::move(row)));
  }
  return Value::list(std::move(rows));
}

Value slice(Interpreter& self, const Value& value, const Arguments& given) {
  const std::int64_t count = integer_argument(given, 0, "slices", 0);
  if (count < 1) throw Failure{"slice takes a number of at least 1"};
  self.charge(static_cast<std::size_t>(count));
  const std::vector<Value> items = self.iterate(value);
  const auto fill = given.get(1, "fill_with");
  const std::size_t each = items.size() / static_cast<std::size_t>(count);
  const std::size_t more = items.size() % static_cast<std::size_t>(count);
  std::vector<Value> slices;
  std::size_t at = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    const std::size_t size = each + (i < more);
    std::vector<Value> part(items.begin() + static_cast<std::ptrdiff_t>(at),
                            items.begin() + static_cast<std::ptrdiff_t>(at + size));
    at += size;
    if (fill && !fill->is_none() && i >= more) part.push_back(*fill);
    slices.push_back(Value::list(std::move(part)));
  }
  return Value::list(std::move(slices));
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
  if (value.is_integer() && precision >= 0) return value;
  if (value.is_integer()) {
    return Value(static_cast<std::int64_t>(std::nearbyint(value.real() * scale) / scale));
  }
  if (precision < 0) return Value(std::nearbyint(value.real() * scale) / scale);
  // Python rounds the exact decimal value, half to even: what printing does.
  return Value(std::stod(fmt::format("{:.{}f}", value.real(), std::min<std::int64_t>(precision, 300))));
}

Value truncate(Interpreter& self, const Value& value, const Arguments& given) {
  const std::string text = text_of(value);
  const std::int64_t length = integer_argument(given, 0, "length", 255);
  const std::string end = text_argument(given, 2, "end", "...");
  const std::int64_t leeway =
      given.get(3, "leeway") && !given.get(3, "leeway")->is_none() ? integer_argument(given, 3, "leeway", 5) : 5;
  const auto size = static_cast<std::int64_t>(count_code_points(text));
  if (size <= length + leeway) return self.text(text);
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

Value title(Interpreter& self, const Value& value) {
  // Words begin behind white space, hyphens and opening brackets.
  std::string out;
  bool begin = true;
  const std::string text = text_of(value);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t from = at;
    const char32_t c = next_code_point(text, at);
    const std::string character = text.substr(from, at - from);
    const bool separator =
        c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || strip(character, "", true, false).empty();
    out += separator ? character : begin ? upper(character) : lower(character);
    begin = separator;
  }
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
  if (!value.is_dict() && !value.is_list()) return self.text(quote(text_of(value), false));
  std::string out;
  const Arguments none;
  const Value pairs = value.is_dict() ? call_method(self, value, "items", none) : value;
  for (const Value& pair : self.iterate(pairs)) {
    const std::vector<Value> both = self.iterate(pair);
    if (both.size() != 2) throw Failure{"urlencode takes pairs"};
    if (!out.empty()) out += '&';
    out += quote(text_of(both[0]), true) + '=' + quote(text_of(both[1]), true);
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

Value strip_tags(Interpreter& self, const Value& value) {
  std::string text = text_of(value);
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

const std::map<std::string, Filter, std::less<>>& filters() {
  using I = Interpreter;
  using V = const Value;
  using A = const Arguments;
  static const Filter kDefault = [](I&, V& v, A& a) {
    const bool replaced = v.is_undefined() || (flag(a, 1, "boolean", false) && !v.truthy());
    return replaced ? a.get(0, "default_value").value_or(Value("")) : v;
  };
  static const Filter kLength = [](I&, V& v, A&) { return length(v); };
  static const Filter kEscape = [](I& self, V& v, A&) { return self.text(escape_html(text_of(v))); };
  static const std::map<std::string, Filter, std::less<>> kFilters = {
      {"abs",
       [](I&, V& v, A&) {
         expect_defined(v);
         if (!v.is_number()) throw Failure{fmt::format("bad operand type for abs(): '{}'", v.type_name())};
         if (v.is_real()) return Value(std::fabs(v.real()));
         if (v.integer() == INT64_MIN) throw Failure{"an integer is too large"};
         return Value(std::abs(v.integer()));
       }},
      {"attr", [](I& self, V& v, A& a) { return self.attribute(v, text_argument(a, 0, "name", "")); }},
      {"batch", batch},
      {"capitalize", [](I& self, V& v, A&) { return self.text(capitalize(text_of(v))); }},
      {"center",
       [](I& self, V& v, A& a) {
         Arguments width;
         width.positional.push_back(a.get(0, "width").value_or(Value(std::int64_t{80})));
         return call_method(self, Value(text_of(v)), "center", width);
       }},
      {"count", kLength},
      {"d", kDefault},
      {"default", kDefault},
      {"dictsort", dict_sort},
      {"e", kEscape},
      {"escape", kEscape},
      {"first",
       [](I& self, V& v, A&) {
         const std::vector<Value> items = self.iterate(v);
         return items.empty() ? Value(Undefined{"No first item, sequence was empty."}) : items.front();
       }},
      {"float", [](I&, V& v, A& a) { return to_real(v, a); }},
      {"forceescape", kEscape},
      {"format",
       [](I& self, V& v, A& a) {
         if (a.named.empty()) return self.text(percent_format(text_of(v), a.positional, nullptr));
         auto mapping = std::make_shared<Dict>();
         for (const auto& [name, value] : a.named) mapping->set(Value(name), value);
         const Value named(std::move(mapping));
         return self.text(percent_format(text_of(v), {named}, &named));
       }},
      {"groupby", group_by},
      {"indent", indent},
      {"int", [](I&, V& v, A& a) { return to_integer(v, a); }},
      {"items",
       [](I& self, V& v, A&) {
         if (v.is_undefined()) return Value::list({});
         if (!v.is_dict()) throw Failure{"Can only get item pairs from a mapping."};
         return call_method(self, v, "items", {});
       }},
      {"join", join},
      {"last",
       [](I& self, V& v, A&) {
         const std::vector<Value> items = self.iterate(v);
         return items.empty() ? Value(Undefined{"No last item, sequence was empty."}) : items.back();
       }},
      {"length", kLength},
      {"list", [](I& self, V& v, A&) { return Value::list(self.iterate(v)); }},
      {"lower", [](I& self, V& v, A&) { return self.text(lower(text_of(v))); }},
      {"map", map},
      {"max", [](I& self, V& v, A& a) { return extreme(self, v, a, true); }},
      {"min", [](I& self, V& v, A& a) { return extreme(self, v, a, false); }},
      {"pprint", [](I& self, V& v, A&) { return self.text(to_repr(v)); }},
      {"reject", [](I& self, V& v, A& a) { return choose(self, v, a, false, false); }},
      {"rejectattr", [](I& self, V& v, A& a) { return choose(self, v, a, false, true); }},
      {"replace",
       [](I& self, V& v, A& a) {
         if (!a.get(1, "new")) throw Failure{"replace takes two texts"};
         const auto count = a.get(2, "count");
         return self.text(replace(text_of(v), text_of(*a.get(0, "old")), text_of(*a.get(1, "new")),
                                  count && !count->is_none() ? expect_integer(*count, "argument 'count'") : -1));
       }},
      {"reverse",
       [](I& self, V& v, A&) {
         std::vector<Value> items = self.iterate(v);
         std::reverse(items.begin(), items.end());
         if (!v.is_string()) return Value::list(std::move(items));
         std::string out;
         for (const Value& each : items) out += each.string();
         return self.text(std::move(out));
       }},
      {"round", [](I&, V& v, A& a) { return round_number(v, a); }},
      {"safe", [](I& self, V& v, A&) { return self.text(text_of(v)); }},
      {"select", [](I& self, V& v, A& a) { return choose(self, v, a, true, false); }},
      {"selectattr", [](I& self, V& v, A& a) { return choose(self, v, a, true, true); }},
      {"slice", slice},
      {"sort",
       [](I& self, V& v, A& a) {
         return Value::list(sorted(self, self.iterate(v), a.get(2, "attribute"), flag(a, 0, "reverse", false),
                                   flag(a, 1, "case_sensitive", false)));
       }},
      {"string", [](I& self, V& v, A&) { return self.text(text_of(v)); }},
      {"striptags", [](I& self, V& v, A&) { return strip_tags(self, v); }},
      {"sum", sum},
      {"title", [](I& self, V& v, A&) { return title(self, v); }},
      {"tojson", to_json},
      {"trim",
       [](I& self, V& v, A& a) {
         const auto characters = a.get(0, "chars");
         const bool any = characters && !characters->is_none();
         const std::string text = text_of(v);
         return self.text(
             std::string(strip(text, any ? expect_string(*characters, "argument 'chars'") : "", true, true)));
       }},
      {"truncate", truncate},
      {"unique", unique},
      {"upper", [](I& self, V& v, A&) { return self.text(upper(text_of(v))); }},
      {"urlencode", [](I& self, V& v, A&) { return url_encode(self, v); }},
      {"wordcount", [](I&, V& v, A&) { return Value(static_cast<std::int64_t>(split_space(text_of(v), -1).size())); }},
  };
  return kFilters;
}

}  // namespace

bool has_filter(std::string_view name) {
  return filters().contains(name);
}

Value apply_filter(Interpreter& interpreter, const std::string& name, const Value& input, const Arguments& given) {
  const auto found = filters().find(name);
  if (found == filters().end()) throw Failure{fmt::format("No filter named '{}'.", name)};
  return found->second(interpreter, input, given);
}

}  // namespace mobula::text::jinja
