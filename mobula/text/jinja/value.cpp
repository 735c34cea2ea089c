#include "mobula/text/jinja/value.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "mobula/text/unicode/properties.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text::jinja {
namespace {

// Values can hold themselves (a namespace in its own attribute), so that walks over them are bounded.
constexpr int kMaxDepth = 100;

void check_depth(int depth) {
  if (depth > kMaxDepth) throw Failure{"a value is nested too deeply"};
}

bool is_printable(char32_t c) {
  const Category k = category(c);
  return c == ' ' || !(k <= Category::Cs || k >= Category::Zl);
}

std::string repr_string(const std::string& text) {
  const bool has_single = text.find('\'') != std::string::npos;
  const bool has_double = text.find('"') != std::string::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = next_code_point(text, at);
    if (c == static_cast<unsigned char>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      out.append(text, begin, at - begin);
    } else if (c < 0x100) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else {
      out += c < 0x10000 ? fmt::format("\\u{:04x}", static_cast<unsigned>(c))
                         : fmt::format("\\U{:08x}", static_cast<unsigned>(c));
    }
  }
  return out + quote;
}

std::string repr_range(const List& list) {
  const auto& items = list.items;
  if (items.empty()) return "range(0, 0)";
  const std::int64_t first = items.front().integer();
  const std::int64_t step = items.size() > 1 ? items[1].integer() - first : 1;
  std::string out = fmt::format("range({}, {}", first, items.back().integer() + step);
  return out + (step == 1 ? ")" : fmt::format(", {})", step));
}

std::string repr(const Value& value, int depth) {
  check_depth(depth);
  if (value.is_string()) return repr_string(value.string());
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "None";
  if (value.is_bool()) return value.boolean() ? "True" : "False";
  if (value.is_integer()) return std::to_string(value.integer());
  if (value.is_real()) return format_real(value.real());
  if (value.is_list()) {
    const List& list = value.items();
    if (list.kind == SeriesKind::generator) return "<generator object>";
    if (list.kind == SeriesKind::range) return repr_range(list);
    const bool tuple = list.kind == SeriesKind::tuple;
    std::string out = list.kind == SeriesKind::keys     ? "dict_keys(["
                      : list.kind == SeriesKind::values ? "dict_values(["
                      : list.kind == SeriesKind::items  ? "dict_items(["
                      : tuple                           ? "("
                                                        : "[";
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out += ", ";
      out += repr(list.items[i], depth + 1);
    }
    if (tuple && list.items.size() == 1) out += ',';
    return out + (tuple ? ")" : list.plain() ? "]" : "])");
  }
  if (value.is_dict()) {
    if (value.dict().is_namespace) {
      Dict plain{value.dict().entries, false};
      return "<Namespace " + repr(Value(std::make_shared<Dict>(plain)), depth + 1) + ">";
    }
    std::string out = "{";
    for (const auto& [key, item] : value.dict().entries) {
      if (out.size() > 1) out += ", ";
      out += repr(key, depth + 1) + ": " + repr(item, depth + 1);
    }
    return out + "}";
  }
  if (value.is_loop()) return fmt::format("<LoopContext {}/{}>", value.loop().index + 1, value.loop().items.size());
  return fmt::format("<function {}>", value.function().name);
}

bool hashable_at(const Value& value, int depth) {
  check_depth(depth);
  if (value.is_dict()) return value.dict().is_namespace;
  if (!value.is_list()) return true;
  const List& list = value.items();
  if (list.kind == SeriesKind::tuple) {
    return std::all_of(list.items.begin(), list.items.end(),
                       [&](const Value& each) { return hashable_at(each, depth + 1); });
  }
  return list.kind == SeriesKind::range || list.kind == SeriesKind::values || list.kind == SeriesKind::generator;
}

bool equal_at(const Value& left, const Value& right, int depth) {
  check_depth(depth);
  if (left.is_number() && right.is_number()) {
    if (left.is_real() || right.is_real()) return left.real() == right.real();
    return left.integer() == right.integer();
  }
  if (left.is_string() && right.is_string()) return left.string() == right.string();
  if (left.is_list() && right.is_list()) {
    const List& a = left.items();
    const List& b = right.items();
    if (a.kind == SeriesKind::generator || a.kind == SeriesKind::values) return &a == &b;
    return a.kind == b.kind && std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(),
                                          [&](const Value& x, const Value& y) { return equal_at(x, y, depth + 1); });
  }
  if (left.is_dict() && right.is_dict()) {
    if (left.dict().entries.size() != right.dict().entries.size()) return false;
    for (const auto& [key, item] : left.dict().entries) {
      const Value* other = right.dict().find(key);
      if (other == nullptr || !equal_at(item, *other, depth + 1)) return false;
    }
    return true;
  }
  if (left.is_none() || right.is_none()) return left.is_none() && right.is_none();
  if (left.is_undefined() || right.is_undefined()) return left.is_undefined() && right.is_undefined();
  return left.same(right);
}

void append_json_string(std::string& out, const std::string& text, bool ensure_ascii) {
  out += '"';
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = next_code_point(text, at);
    switch (c) {
      case '"':
        out += "\\\"";
        continue;
      case '\\':
        out += "\\\\";
        continue;
      case '\n':
        out += "\\n";
        continue;
      case '\r':
        out += "\\r";
        continue;
      case '\t':
        out += "\\t";
        continue;
      case '\b':
        out += "\\b";
        continue;
      case '\f':
        out += "\\f";
        continue;
      default:
        break;
    }
    if (c < 0x20 || (ensure_ascii && c > 0x7E)) {
      if (c >= 0x10000) {
        out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((static_cast<unsigned>(c) - 0x10000) >> 10),
                           0xDC00 + (static_cast<unsigned>(c) & 0x3FF));
      } else if (c == 0x7F && !ensure_ascii) {
        out += '\x7F';
      } else {
        out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
      }
    } else {
      out.append(text, begin, at - begin);
    }
  }
  out += '"';
}

class JsonWriter {
 public:
  explicit JsonWriter(const JsonFormat& format) : format_(format) {
    item_ = format.separators ? format.separators->first : format.indent ? "," : ", ";
    key_ = format.separators ? format.separators->second : ": ";
  }

  void write(const Value& value, int depth) {
    check_depth(depth);
    if (value.is_string()) {
      append_json_string(out, value.string(), format_.ensure_ascii);
    } else if (value.is_none()) {
      out += "null";
    } else if (value.is_bool()) {
      out += value.boolean() ? "true" : "false";
    } else if (value.is_integer()) {
      out += std::to_string(value.integer());
    } else if (value.is_real()) {
      out += real(value.real());
    } else if (value.is_list() && value.items().plain()) {
      const auto& items = value.items().items;
      if (items.empty()) {
        out += "[]";
        return;
      }
      out += '[';
      for (std::size_t i = 0; i < items.size(); ++i) {
        separate(i, depth + 1);
        write(items[i], depth + 1);
      }
      line(depth);
      out += ']';
    } else if (value.is_dict() && !value.dict().is_namespace) {
      write_dict(value.dict(), depth);
    } else {
      throw Failure{fmt::format("Object of type {} is not JSON serializable", value.type_name())};
    }
  }

  std::string out;

 private:
  static std::string real(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
    return format_real(value);
  }
  void line(int depth) {
    if (!format_.indent) return;
    out += '\n';
    for (int i = 0; i < depth; ++i) out += *format_.indent;
  }
  void separate(std::size_t index, int depth) {
    if (index > 0) out += item_;
    line(depth);
  }
  void write_dict(const Dict& dict, int depth) {
    if (dict.entries.empty()) {
      out += "{}";
      return;
    }
    auto entries = dict.entries;
    if (format_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto& a, const auto& b) { return compare(a.first, b.first) < 0; });
    }
    out += '{';
    for (std::size_t i = 0; i < entries.size(); ++i) {
      separate(i, depth + 1);
      const Value& key = entries[i].first;
      if (key.is_string()) {
        append_json_string(out, key.string(), format_.ensure_ascii);
      } else if (key.is_none() || key.is_number()) {
        out += '"';
        write(key, depth + 1);
        out += '"';
      } else {
        throw Failure{fmt::format("keys must be str, int, float, bool or None, not {}", key.type_name())};
      }
      out += key_;
      write(entries[i].second, depth + 1);
    }
    line(depth);
    out += '}';
  }

  const JsonFormat& format_;
  std::string item_;
  std::string key_;
};

}  // namespace

Value* Dict::find(const Value& key) {
  for (auto& [name, value] : entries) {
    if (equal(name, key)) return &value;
  }
  return nullptr;
}

void Dict::set(const Value& key, Value value) {
  if (Value* known = find(key)) {
    *known = std::move(value);
  } else {
    entries.emplace_back(key, std::move(value));
  }
}

std::optional<Value> Arguments::get(std::size_t index, std::string_view name) const {
  if (index < positional.size()) return positional[index];
  for (const auto& [given, value] : named) {
    if (given == name) return value;
  }
  return std::nullopt;
}

Value Value::list(std::vector<Value> items, SeriesKind kind) {
  auto list = std::make_shared<List>();
  list->items = std::move(items);
  list->kind = kind;
  return Value(std::move(list));
}

Value Value::from_json(const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value(json.get<bool>());
    case Json::value_t::number_integer:
      return Value(json.get<std::int64_t>());
    case Json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(INT64_MAX)) return Value(static_cast<double>(number));
      return Value(static_cast<std::int64_t>(number));
    }
    case Json::value_t::number_float:
      return Value(json.get<double>());
    case Json::value_t::string: {
      const auto& text = json.get_ref<const std::string&>();
      if (is_valid_utf8(text)) return Value(text);
      std::string repaired;
      append_repaired_utf8(repaired, text);
      return Value(std::move(repaired));
    }
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(from_json(item));
      return list(std::move(items));
    }
    case Json::value_t::object: {
      auto dict = std::make_shared<Dict>();
      for (const auto& [key, item] : json.items()) dict->entries.emplace_back(Value(key), from_json(item));
      return Value(std::move(dict));
    }
    default:
      return Value(None{});
  }
}

bool Value::same(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (is_list()) return &items() == &other.items();
  if (is_dict()) return &dict() == &other.dict();
  if (is_function()) return &function() == &other.function();
  if (is_loop()) return &loop() == &other.loop();
  return equal(*this, other);
}

std::string_view Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_integer()) return "int";
  if (is_real()) return "float";
  if (is_string()) return "str";
  if (is_list()) {
    static constexpr std::string_view kNames[] = {"list",        "tuple",      "range",    "dict_keys",
                                                  "dict_values", "dict_items", "generator"};
    return kNames[static_cast<std::size_t>(items().kind)];
  }
  if (is_dict()) return dict().is_namespace ? "Namespace" : "dict";
  return is_loop() ? "LoopContext" : "function";
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (is_bool()) return boolean();
  if (is_integer()) return integer() != 0;
  if (is_real()) return real() != 0;
  if (is_string()) return !string().empty();
  if (is_list()) return items().kind == SeriesKind::generator || !items().items.empty();
  if (is_dict()) return dict().is_namespace || !dict().entries.empty();
  return true;
}

void expect_defined(const Value& value) {
  if (value.is_undefined()) {
    const std::string& name = value.undefined().name;
    throw Failure{name.find(' ') == std::string::npos ? fmt::format("'{}' is undefined", name) : name};
  }
}

bool hashable(const Value& value) {
  return hashable_at(value, 0);
}

bool equal(const Value& left, const Value& right) {
  return equal_at(left, right, 0);
}

int compare(const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) {
    if (!left.is_real() && !right.is_real()) {
      return left.integer() < right.integer() ? -1 : left.integer() > right.integer();
    }
    return left.real() < right.real() ? -1 : left.real() > right.real();
  }
  if (left.is_string() && right.is_string()) return left.string().compare(right.string());
  if (left.is_list() && right.is_list() && left.items().plain() && left.items().kind == right.items().kind) {
    const auto& a = left.items().items;
    const auto& b = right.items().items;
    for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
      if (!equal(a[i], b[i])) return compare(a[i], b[i]);
    }
    return a.size() < b.size() ? -1 : a.size() > b.size();
  }
  for (const Value* value : {&left, &right}) {
    if (value->is_undefined()) expect_defined(*value);
  }
  throw Failure{
      fmt::format("'<' not supported between instances of '{}' and '{}'", left.type_name(), right.type_name())};
}

std::string to_text(const Value& value) {
  if (value.is_string()) return value.string();
  if (value.is_undefined()) return {};
  return repr(value, 0);
}

std::string to_repr(const Value& value) {
  return repr(value, 0);
}

std::string format_real(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto scientific = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string text(buffer, scientific.ptr);
  const std::size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  if (exponent < -4 || exponent >= 16) return text;
  const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  std::string plain(buffer, fixed.ptr);
  if (plain.find('.') == std::string::npos) plain += ".0";
  return plain;
}

std::string to_json_text(const Value& value, const JsonFormat& format) {
  JsonWriter writer(format);
  writer.write(value, 0);
  return std::move(writer.out);
}

}  // namespace mobula::text::jinja
