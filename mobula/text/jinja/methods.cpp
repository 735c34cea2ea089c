#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "mobula/text/jinja/interpreter.hpp"
#include "mobula/text/jinja/letter_case.hpp"
#include "mobula/text/jinja/strings.hpp"
#include "mobula/text/unicode/properties.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text::jinja {
namespace {

using Method = Value (*)(Interpreter&, const Value&, const Arguments&);

std::string text_argument(const Arguments& given, std::size_t index, std::string_view name) {
  const auto value = given.get(index, name);
  if (!value) throw Failure{fmt::format("argument '{}' is missing", name)};
  return expect_string(*value, fmt::format("argument '{}'", name));
}

std::int64_t integer_argument(const Arguments& given, std::size_t index, std::string_view name,
                              std::int64_t otherwise) {
  const auto value = given.get(index, name);
  return value && !value->is_none() ? expect_integer(*value, fmt::format("argument '{}'", name)) : otherwise;
}

Value list_of(const std::vector<std::string>& texts) {
  std::vector<Value> items;
  items.reserve(texts.size());
  for (const std::string& each : texts) items.emplace_back(each);
  return Value::list(std::move(items));
}

Value strip_method(Interpreter& self, const Value& object, const Arguments& given, bool left, bool right) {
  const auto characters = given.get(0, "chars");
  const bool any = characters && !characters->is_none();
  if (any && expect_string(*characters, "argument 'chars'").empty()) return object;
  return self.text(std::string(strip(object.string(), any ? characters->string() : "", left, right)));
}

Value split_method(Interpreter& self, const Value& object, const Arguments& given, bool right) {
  self.charge(object.string().size());
  const auto separator = given.get(0, "sep");
  const std::int64_t most = integer_argument(given, 1, "maxsplit", -1);
  if (!separator || separator->is_none()) {
    if (!right || most < 0) return list_of(split_space(object.string(), most));
    // From the right: all words, the surplus ones at the left joined as they stand.
    std::string_view rest = strip(object.string(), "", true, true);
    std::vector<std::string> parts;
    for (std::int64_t i = 0; i < most && !rest.empty(); ++i) {
      std::size_t begin = rest.size();
      while (begin > 0) {
        std::size_t at = begin;
        if (is_space(previous_code_point(rest, at))) break;
        begin = at;
      }
      parts.emplace_back(rest.substr(begin));
      rest = strip(rest.substr(0, begin), "", false, true);
    }
    if (!rest.empty()) parts.emplace_back(rest);
    std::reverse(parts.begin(), parts.end());
    return list_of(parts);
  }
  const std::string& at = expect_string(*separator, "argument 'sep'");
  if (at.empty()) throw Failure{"empty separator"};
  return list_of(right ? split_at_right(object.string(), at, most) : split_at(object.string(), at, most));
}

/// A part of a text, from code points `start` to `end` of a method's arguments.
struct Window {
  std::string_view text;
  std::size_t bytes_before = 0;
  bool empty = false;  ///< start lies behind end, where not even "" is found
};

Window window(const Value& object, const Arguments& given) {
  const std::string& text = object.string();
  if (given.positional.size() < 2) return {text, 0, false};
  const auto count = static_cast<std::int64_t>(count_code_points(text));
  const auto bound = [&](std::size_t index, std::int64_t otherwise) {
    const std::int64_t at = integer_argument(given, index, "", otherwise);
    return at < 0 ? std::max<std::int64_t>(at + count, 0) : at;
  };
  const std::int64_t start = bound(1, 0);
  const std::int64_t end = std::min(bound(2, count), count);
  if (start > end) return {{}, 0, true};
  const auto byte_of = [&](std::int64_t code_point) {
    std::size_t at = 0;
    for (; code_point > 0; --code_point) at += utf8_length(text[at]);
    return at;
  };
  const std::size_t from = byte_of(start);
  return {std::string_view(text).substr(from, byte_of(end) - from), from, false};
}

// startswith and endswith take one text or a tuple of them.
template <class Holds>
Value any_affix(const Value& object, const Arguments& given, Holds&& with) {
  const auto affix = given.get(0, "prefix");
  if (!affix) throw Failure{"an argument is missing"};
  const Window part = window(object, given);
  const auto holds = [&](const std::string& each) { return !part.empty && with(part.text, each); };
  if (!affix->is_list()) return Value(holds(expect_string(*affix, "argument")));
  if (affix->items().kind != SeriesKind::tuple)
    throw Failure{"the first argument must be a string or a tuple of strings"};
  for (const Value& each : affix->items().items) {
    if (holds(expect_string(each, "argument"))) return Value(true);
  }
  return Value(false);
}

Value find_method(const Value& object, const Arguments& given, bool right, bool must) {
  const std::string needle = text_argument(given, 0, "sub");
  const Window part = window(object, given);
  std::size_t found = part.empty ? std::string::npos : right ? part.text.rfind(needle) : part.text.find(needle);
  if (found != std::string::npos) found += part.bytes_before;
  if (found == std::string::npos) {
    if (must) throw Failure{"substring not found"};
    return Value(std::int64_t{-1});
  }
  return Value(static_cast<std::int64_t>(count_code_points(std::string_view(object.string()).substr(0, found))));
}

template <class Accept>
Value all_characters(const Value& object, Accept&& accept) {
  const std::string& text = object.string();
  for (std::size_t at = 0; at < text.size();) {
    if (!accept(next_code_point(text, at))) return Value(false);
  }
  return Value(!text.empty());
}

// Tells whether a text has letters of the `wanted` case and none of the `refused` one or of title case.
Value has_case(const Value& object, bool (*wanted)(char32_t), bool (*refused)(char32_t)) {
  bool any = false;
  const std::string& text = object.string();
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (refused(c) || category(c) == Category::Lt) return Value(false);
    any = any || wanted(c);
  }
  return Value(any);
}

Value justify(Interpreter& self, const Value& object, const Arguments& given, bool left, bool right) {
  const std::string& text = object.string();
  const auto width = static_cast<std::size_t>(std::max<std::int64_t>(integer_argument(given, 0, "width", 0), 0));
  const auto fill_argument = given.get(1, "fillchar");
  const std::string fill = fill_argument ? expect_string(*fill_argument, "argument 'fillchar'") : " ";
  const std::size_t size = count_code_points(text);
  if (width <= size) return object;
  self.charge((width - size) * fill.size());
  const std::size_t pad = width - size;
  // Python's center puts the odd space on the left where both the padding and the width are odd.
  const std::size_t before = left && right ? pad / 2 + (pad & width & 1) : left ? 0 : pad;
  std::string out;
  for (std::size_t i = 0; i < before; ++i) out += fill;
  out += text;
  for (std::size_t i = before; i < pad; ++i) out += fill;
  return self.text(std::move(out));
}

Value partition(const Value& object, const Arguments& given, bool right) {
  const std::string separator = text_argument(given, 0, "sep");
  if (separator.empty()) throw Failure{"empty separator"};
  const std::string& text = object.string();
  const std::size_t found = right ? text.rfind(separator) : text.find(separator);
  if (found == std::string::npos) {
    return right ? Value::tuple({Value(""), Value(""), object}) : Value::tuple({object, Value(""), Value("")});
  }
  return Value::tuple({Value(text.substr(0, found)), Value(separator), Value(text.substr(found + separator.size()))});
}

Value expand_tabs(Interpreter& self, const Value& object, const Arguments& given) {
  const std::int64_t size = std::clamp<std::int64_t>(integer_argument(given, 0, "tabsize", 8), 0, 1000);
  std::string out;
  std::int64_t column = 0;
  const std::string& text = object.string();
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text[at]);
    if (text[at] == '\t') {
      const std::int64_t spaces = size == 0 ? 0 : size - column % size;
      self.charge(static_cast<std::size_t>(spaces));
      out.append(static_cast<std::size_t>(spaces), ' ');
      column += spaces;
    } else {
      out.append(text, at, length);
      column = text[at] == '\n' || text[at] == '\r' ? 0 : column + 1;
    }
    at += length;
  }
  return self.text(std::move(out));
}

Value is_title(const Value& object) {
  bool any = false;
  bool inside = false;
  const std::string& text = object.string();
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    const bool begins = is_upper(c) || category(c) == Category::Lt;
    if (begins ? inside : is_lower(c) && !inside) return Value(false);
    inside = begins || is_lower(c);
    any = any || inside;
  }
  return Value(any);
}

const std::map<std::string, Method, std::less<>>& string_methods() {
  using I = Interpreter;
  using V = const Value;
  using A = const Arguments;
  static const std::map<std::string, Method, std::less<>> kMethods = {
      {"strip", [](I& self, V& v, A& a) { return strip_method(self, v, a, true, true); }},
      {"lstrip", [](I& self, V& v, A& a) { return strip_method(self, v, a, true, false); }},
      {"rstrip", [](I& self, V& v, A& a) { return strip_method(self, v, a, false, true); }},
      {"split", [](I& self, V& v, A& a) { return split_method(self, v, a, false); }},
      {"rsplit", [](I& self, V& v, A& a) { return split_method(self, v, a, true); }},
      {"splitlines",
       [](I& self, V& v, A& a) {
         self.charge(v.string().size());
         const auto keep = a.get(0, "keepends");
         return list_of(split_lines(v.string(), keep && keep->truthy()));
       }},
      {"startswith",
       [](I&, V& v, A& a) {
         return any_affix(v, a,
                          [](std::string_view text, const std::string& affix) { return text.starts_with(affix); });
       }},
      {"endswith",
       [](I&, V& v, A& a) {
         return any_affix(v, a, [](std::string_view text, const std::string& affix) { return text.ends_with(affix); });
       }},
      {"removeprefix",
       [](I& self, V& v, A& a) {
         const std::string affix = text_argument(a, 0, "prefix");
         return v.string().starts_with(affix) ? self.text(v.string().substr(affix.size())) : v;
       }},
      {"removesuffix",
       [](I& self, V& v, A& a) {
         const std::string affix = text_argument(a, 0, "suffix");
         return v.string().ends_with(affix) ? self.text(v.string().substr(0, v.string().size() - affix.size())) : v;
       }},
      {"upper", [](I& self, V& v, A&) { return self.text(upper(v.string())); }},
      {"lower", [](I& self, V& v, A&) { return self.text(lower(v.string())); }},
      {"casefold", [](I& self, V& v, A&) { return self.text(fold_case(v.string())); }},
      {"capitalize", [](I& self, V& v, A&) { return self.text(capitalize(v.string())); }},
      {"title", [](I& self, V& v, A&) { return self.text(title(v.string())); }},
      {"swapcase", [](I& self, V& v, A&) { return self.text(swap_case(v.string())); }},
      {"replace",
       [](I& self, V& v, A& a) {
         return self.text(replace(v.string(), text_argument(a, 0, "old"), text_argument(a, 1, "new"),
                                  integer_argument(a, 2, "count", -1)));
       }},
      {"find", [](I&, V& v, A& a) { return find_method(v, a, false, false); }},
      {"rfind", [](I&, V& v, A& a) { return find_method(v, a, true, false); }},
      {"index", [](I&, V& v, A& a) { return find_method(v, a, false, true); }},
      {"rindex", [](I&, V& v, A& a) { return find_method(v, a, true, true); }},
      {"count",
       [](I& self, V& v, A& a) {
         self.charge(v.string().size());
         const std::string needle = text_argument(a, 0, "sub");
         const Window part = window(v, a);
         if (part.empty) return Value(std::int64_t{0});
         if (needle.empty()) return Value(static_cast<std::int64_t>(count_code_points(part.text) + 1));
         return Value(static_cast<std::int64_t>(split_at(part.text, needle, -1).size() - 1));
       }},
      {"join",
       [](I& self, V& v, A& a) {
         const auto list = a.get(0, "iterable");
         if (!list) throw Failure{"join() takes one argument"};
         std::string out;
         bool first = true;
         for (const Value& each : self.iterate(*list)) {
           if (!first) out += v.string();
           first = false;
           out += expect_string(each, "an item of join()");
           self.charge(v.string().size());
         }
         return self.text(std::move(out));
       }},
      {"format", [](I& self, V& v, A& a) { return self.text(brace_format(self, v.string(), a)); }},
      {"isdigit",
       [](I&, V& v, A&) { return all_characters(v, [](char32_t c) { return category(c) == Category::Nd; }); }},
      {"isdecimal",
       [](I&, V& v, A&) { return all_characters(v, [](char32_t c) { return category(c) == Category::Nd; }); }},
      {"isnumeric", [](I&, V& v, A&) { return all_characters(v, [](char32_t c) { return is_number(c); }); }},
      {"isalpha", [](I&, V& v, A&) { return all_characters(v, [](char32_t c) { return is_letter(c); }); }},
      {"isalnum",
       [](I&, V& v, A&) { return all_characters(v, [](char32_t c) { return is_letter(c) || is_number(c); }); }},
      {"isspace",
       [](I&, V& v, A&) {
         return all_characters(v, [](char32_t c) { return is_space(c) || (c >= 0x1C && c <= 0x1F); });
       }},
      {"isascii",
       [](I&, V& v, A&) {
         return Value(v.string().empty() || all_characters(v, [](char32_t c) { return c < 128; }).boolean());
       }},
      {"isupper", [](I&, V& v, A&) { return has_case(v, is_upper, is_lower); }},
      {"islower", [](I&, V& v, A&) { return has_case(v, is_lower, is_upper); }},
      {"istitle", [](I&, V& v, A&) { return is_title(v); }},
      {"expandtabs", expand_tabs},
      {"center", [](I& self, V& v, A& a) { return justify(self, v, a, true, true); }},
      {"ljust", [](I& self, V& v, A& a) { return justify(self, v, a, true, false); }},
      {"rjust", [](I& self, V& v, A& a) { return justify(self, v, a, false, true); }},
      {"zfill",
       [](I& self, V& v, A& a) {
         const auto width = static_cast<std::size_t>(std::max<std::int64_t>(integer_argument(a, 0, "width", 0), 0));
         const std::size_t size = count_code_points(v.string());
         if (width <= size) return v;
         self.charge(width);
         const bool sign = v.string().starts_with('-') || v.string().starts_with('+');
         return self.text(v.string().substr(0, sign) + std::string(width - size, '0') + v.string().substr(sign));
       }},
      {"partition", [](I&, V& v, A& a) { return partition(v, a, false); }},
      {"rpartition", [](I&, V& v, A& a) { return partition(v, a, true); }},
  };
  return kMethods;
}

const std::map<std::string, Method, std::less<>>& dict_methods() {
  using I = Interpreter;
  using V = const Value;
  using A = const Arguments;
  static const std::map<std::string, Method, std::less<>> kMethods = {
      {"get",
       [](I&, V& v, A& a) {
         const auto key = a.get(0, "key");
         if (!key) throw Failure{"get() takes a key"};
         const Value* found = v.dict().find(*key);
         return found != nullptr ? *found : a.get(1, "default").value_or(Value(None{}));
       }},
      {"items",
       [](I& self, V& v, A&) {
         std::vector<Value> items;
         self.charge(v.dict().entries.size());
         for (const auto& [key, value] : v.dict().entries) items.push_back(Value::tuple({key, value}));
         return Value::list(std::move(items), SeriesKind::items);
       }},
      {"keys", [](I& self, V& v, A&) { return Value::list(self.iterate(v), SeriesKind::keys); }},
      {"values",
       [](I& self, V& v, A&) {
         std::vector<Value> items;
         self.charge(v.dict().entries.size());
         for (const auto& entry : v.dict().entries) items.push_back(entry.second);
         return Value::list(std::move(items), SeriesKind::values);
       }},
      {"copy",
       [](I& self, V& v, A&) {
         self.charge(v.dict().entries.size());
         return Value(std::make_shared<Dict>(v.dict()));
       }},
  };
  return kMethods;
}

const std::map<std::string, Method, std::less<>>& list_methods() {
  using I = Interpreter;
  using V = const Value;
  using A = const Arguments;
  static const std::map<std::string, Method, std::less<>> kMethods = {
      {"index",
       [](I& self, V& v, A& a) {
         const auto item = a.get(0, "value");
         if (!item) throw Failure{"index() takes a value"};
         const auto& items = v.items().items;
         self.charge(items.size());
         const auto found =
             std::find_if(items.begin(), items.end(), [&](const Value& each) { return equal(each, *item); });
         if (found == items.end()) throw Failure{fmt::format("{} is not in list", to_repr(*item))};
         return Value(static_cast<std::int64_t>(found - items.begin()));
       }},
      {"count",
       [](I& self, V& v, A& a) {
         const auto item = a.get(0, "value");
         if (!item) throw Failure{"count() takes a value"};
         const auto& items = v.items().items;
         self.charge(items.size());
         return Value(static_cast<std::int64_t>(
             std::count_if(items.begin(), items.end(), [&](const Value& each) { return equal(each, *item); })));
       }},
      {"copy", [](I& self, V& v, A&) { return Value::list(self.iterate(v)); }},
  };
  return kMethods;
}

// Methods that would change their object: there, but refused.
bool is_mutating(const Value& object, std::string_view name) {
  static constexpr std::string_view kList[] = {"append", "clear",  "extend",  "insert",
                                               "pop",    "remove", "reverse", "sort"};
  static constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  if (object.is_list() && object.items().kind == SeriesKind::list)
    return std::find(std::begin(kList), std::end(kList), name) != std::end(kList);
  return object.is_dict() && !object.dict().is_namespace &&
         std::find(std::begin(kDict), std::end(kDict), name) != std::end(kDict);
}

const std::map<std::string, Method, std::less<>>* methods_of(const Value& object) {
  if (object.is_string()) return &string_methods();
  if (object.is_list() && object.items().indexed()) return &list_methods();
  if (object.is_dict() && !object.dict().is_namespace) return &dict_methods();
  return nullptr;
}

}  // namespace

bool has_method(const Value& object, std::string_view name) {
  if (object.is_loop()) return name == "cycle" || name == "changed";
  const auto* methods = methods_of(object);
  return methods != nullptr && (methods->contains(name) || is_mutating(object, name));
}

Value call_method(Interpreter& interpreter, const Value& object, const std::string& name, const Arguments& given) {
  if (object.is_loop()) {
    Loop& loop = object.loop();
    if (name == "cycle") {
      if (given.positional.empty()) throw Failure{"no items for cycling given"};
      return given.positional[loop.index % given.positional.size()];
    }
    const Value now = Value::tuple(given.positional);
    const bool changed = !loop.last_changed || !equal(*loop.last_changed, now);
    loop.last_changed = std::make_shared<Value>(now);
    return Value(changed);
  }
  const auto* methods = methods_of(object);
  const auto found = methods->find(name);
  if (found == methods->end()) {
    throw Failure{fmt::format("{}() would change its {}, which a chat template may not", name, object.type_name())};
  }
  return found->second(interpreter, object, given);
}

}  // namespace mobula::text::jinja
