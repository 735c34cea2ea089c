#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "mobula/text/jinja/filters.hpp"
#include "mobula/text/jinja/strings.hpp"

namespace mobula::text::jinja {
namespace {

using Filter = Value (*)(Interpreter&, const Value&, const Arguments&);

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

struct SortOrder {
  std::optional<Value> attribute;
  bool reverse = false;
  bool case_sensitive = false;
  std::optional<Value> otherwise;  ///< the key of items without the attribute
  bool keys_in_lists = false;      ///< as the filter sort has them: what is equal need not have an order
};

std::vector<Value> sorted(Interpreter& self, std::vector<Value> items, const SortOrder& order) {
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) {
    Value key = sort_key(self, item, order.attribute, order.case_sensitive, order.otherwise);
    if (order.keys_in_lists) key = Value::list({std::move(key)});
    keyed.emplace_back(std::move(key), std::move(item));
  }
  self.charge(keyed.size() * 8);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return order.reverse ? compare(b.first, a.first) < 0 : compare(a.first, b.first) < 0;
  });
  items.clear();
  for (auto& each : keyed) items.push_back(std::move(each.second));
  return items;
}

Value join(Interpreter& self, const Value& value, const Arguments& given) {
  const std::string separator = given.get(0, "d") ? to_text(*given.get(0, "d")) : "";
  const auto attribute = given.get(1, "attribute");
  std::string out;
  bool first = true;
  for (const Value& each : self.iterate(value)) {
    if (!first) out += separator;
    first = false;
    const std::string part = to_text(attribute && !attribute->is_none() ? dotted(self, each, *attribute) : each);
    self.charge(part.size() + separator.size());
    out += part;
  }
  return Value(std::move(out));
}

// select, reject, selectattr and rejectattr.
Value choose(Interpreter& self, const Value& value, const Arguments& given, bool wanted, bool by_attribute) {
  std::vector<Value> kept;
  if (!value.truthy()) return Value::generator({});  // even of a number
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
  return Value::generator(std::move(kept));
}

Value map(Interpreter& self, const Value& value, const Arguments& given) {
  std::vector<Value> mapped;
  if (!value.truthy()) return Value::generator({});
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
  return Value::generator(std::move(mapped));
}

Value dict_sort(Interpreter& self, const Value& value, const Arguments& given) {
  if (!value.is_dict()) throw Failure{"dictsort takes a mapping"};
  const bool case_sensitive = flag(given, 0, "case_sensitive", false);
  const std::string by = text_argument(given, 1, "by", "key");
  if (by != "key" && by != "value") throw Failure{"you can only sort by either \"key\" or \"value\""};
  std::vector<Value> items;
  for (const auto& [key, item] : value.dict().entries) items.push_back(Value::tuple({key, item}));
  return Value::list(sorted(self, std::move(items),
                            {.attribute = Value(std::int64_t{by == "value"}),
                             .reverse = flag(given, 2, "reverse", false),
                             .case_sensitive = case_sensitive}));
}

Value unique(Interpreter& self, const Value& value, const Arguments& given) {
  std::vector<Value> seen;
  std::vector<Value> kept;
  for (const Value& each : self.iterate(value)) {
    const Value key = sort_key(self, each, given.get(1, "attribute"), flag(given, 0, "case_sensitive", false));
    self.charge(seen.size());
    if (!hashable(key)) throw Failure{fmt::format("unhashable type: '{}'", key.type_name())};
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& other) { return equal(other, key); })) continue;
    seen.push_back(key);
    kept.push_back(each);
  }
  return Value::generator(std::move(kept));
}

Value extreme(Interpreter& self, const Value& value, const Arguments& given, bool largest) {
  const std::vector<Value> items = self.iterate(value);
  if (items.empty()) return Value(Undefined{"No aggregated item, sequence was empty."});
  const bool case_sensitive = flag(given, 0, "case_sensitive", false);
  const auto attribute = given.get(1, "attribute");
  Value best = items[0];
  Value best_key = sort_key(self, best, attribute, case_sensitive);
  for (std::size_t i = 1; i < items.size(); ++i) {
    const Value& each = items[i];
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
  const SortOrder order{.attribute = attribute, .case_sensitive = case_sensitive, .otherwise = otherwise};
  for (const Value& each : sorted(self, self.iterate(value), order)) {
    Value key = dotted(self, each, *attribute);
    if (key.is_undefined() && otherwise) key = *otherwise;
    const Value compared = !case_sensitive && key.is_string() ? Value(lower(key.string())) : key;
    if (!last || !equal(*last, compared)) {
      groups.push_back(Value::tuple({key, Value::list({})}));
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
  return Value::generator(std::move(rows));
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
  return Value::generator(std::move(slices));
}

const std::map<std::string, Filter, std::less<>>& filters() {
  using I = Interpreter;
  using V = const Value;
  using A = const Arguments;
  static const Filter kDefault = [](I&, V& v, A& a) {
    const bool replaced = v.is_undefined() || (flag(a, 1, "boolean", false) && !v.truthy());
    return replaced ? a.get(0, "default_value").value_or(Value("")) : v;
  };
  static const Filter kLength = [](I&, V& v, A&) { return length_of(v); };
  static const Filter kEscape = [](I& self, V& v, A&) { return self.text(escape_html(to_text(v))); };
  static const std::map<std::string, Filter, std::less<>> kFilters = {
      {"abs",
       [](I&, V& v, A&) {
         expect_defined(v);
         if (!v.is_number()) throw Failure{fmt::format("bad operand type for abs(): '{}'", v.type_name())};
         if (v.is_real()) return Value(std::fabs(v.real()));
         if (v.integer() == INT64_MIN) throw Failure{"an integer is too large"};
         return Value(std::abs(v.integer()));
       }},
      {"attr",
       [](I& self, V& v, A& a) {
         const std::string name = text_argument(a, 0, "name", "");
         if (v.is_dict() && !v.dict().is_namespace && !has_method(v, name)) {
           return Value(Undefined{fmt::format("'dict object' has no attribute '{}'", name)});  // its keys are none
         }
         return self.attribute(v, name);
       }},
      {"batch", batch},
      {"capitalize", [](I& self, V& v, A&) { return self.text(capitalize(to_text(v))); }},
      {"center",
       [](I& self, V& v, A& a) {
         Arguments width;
         width.positional.push_back(a.get(0, "width").value_or(Value(std::int64_t{80})));
         return call_method(self, Value(to_text(v)), "center", width);
       }},
      {"count", kLength},
      {"d", kDefault},
      {"default", kDefault},
      {"dictsort", dict_sort},
      {"e", kEscape},
      {"escape", kEscape},
      {"first",
       [](I& self, V& v, A&) {
         if (v.is_list() && v.items().kind == SeriesKind::generator && !v.items().items.empty()) {
           Value item = std::move(v.items().items.front());  // only the first is taken
           v.items().items.erase(v.items().items.begin());
           return item;
         }
         const std::vector<Value> items = self.iterate(v);
         return items.empty() ? Value(Undefined{"No first item, sequence was empty."}) : items.front();
       }},
      {"float", [](I&, V& v, A& a) { return to_real(v, a); }},
      {"forceescape", kEscape},
      {"format",
       [](I& self, V& v, A& a) {
         if (a.named.empty()) return self.text(percent_format(to_text(v), a.positional, nullptr));
         auto mapping = std::make_shared<Dict>();
         for (const auto& [name, value] : a.named) mapping->set(Value(name), value);
         const Value named(std::move(mapping));
         return self.text(percent_format(to_text(v), {named}, &named));
       }},
      {"groupby", group_by},
      {"indent", indent},
      {"int", [](I&, V& v, A& a) { return to_integer(v, a); }},
      {"items",
       [](I& self, V& v, A&) {
         if (v.is_undefined()) return Value::generator({});
         if (!v.is_dict()) throw Failure{"Can only get item pairs from a mapping."};
         return Value::generator(self.iterate(call_method(self, v, "items", {})));
       }},
      {"join", join},
      {"last",
       [](I& self, V& v, A&) {
         if (v.is_list() && v.items().kind == SeriesKind::generator)
           throw Failure{"'generator' object is not reversible; put '| list' before '| last'"};
         const std::vector<Value> items = self.iterate(v);
         return items.empty() ? Value(Undefined{"No last item, sequence was empty."}) : items.back();
       }},
      {"length", kLength},
      {"list", [](I& self, V& v, A&) { return Value::list(self.iterate(v)); }},
      {"lower", [](I& self, V& v, A&) { return self.text(lower(to_text(v))); }},
      {"map", map},
      {"max", [](I& self, V& v, A& a) { return extreme(self, v, a, true); }},
      {"min", [](I& self, V& v, A& a) { return extreme(self, v, a, false); }},
      {"reject", [](I& self, V& v, A& a) { return choose(self, v, a, false, false); }},
      {"rejectattr", [](I& self, V& v, A& a) { return choose(self, v, a, false, true); }},
      {"replace",
       [](I& self, V& v, A& a) {
         if (!a.get(1, "new")) throw Failure{"replace takes two texts"};
         const auto count = a.get(2, "count");
         return self.text(replace(to_text(v), to_text(*a.get(0, "old")), to_text(*a.get(1, "new")),
                                  count && !count->is_none() ? expect_integer(*count, "argument 'count'") : -1));
       }},
      {"reverse",
       [](I& self, V& v, A&) {
         std::vector<Value> items = self.iterate(v);
         std::reverse(items.begin(), items.end());
         if (!v.is_string()) {
           const bool list = v.is_list() && v.items().kind == SeriesKind::generator;
           return Value::list(std::move(items), list ? SeriesKind::list : SeriesKind::generator);
         }
         std::string out;
         for (const Value& each : items) out += each.string();
         return self.text(std::move(out));
       }},
      {"round", [](I&, V& v, A& a) { return round_number(v, a); }},
      {"safe", [](I& self, V& v, A&) { return self.text(to_text(v)); }},
      {"select", [](I& self, V& v, A& a) { return choose(self, v, a, true, false); }},
      {"selectattr", [](I& self, V& v, A& a) { return choose(self, v, a, true, true); }},
      {"slice", slice},
      {"sort",
       [](I& self, V& v, A& a) {
         return Value::list(sorted(self, self.iterate(v),
                                   {.attribute = a.get(2, "attribute"),
                                    .reverse = flag(a, 0, "reverse", false),
                                    .case_sensitive = flag(a, 1, "case_sensitive", false),
                                    .keys_in_lists = true}));
       }},
      {"string", [](I& self, V& v, A&) { return self.text(to_text(v)); }},
      {"striptags", [](I& self, V& v, A&) { return strip_tags(self, v); }},
      {"sum", sum},
      {"title", [](I& self, V& v, A&) { return title_words(self, v); }},
      {"tojson", to_json},
      {"trim",
       [](I& self, V& v, A& a) {
         const auto characters = a.get(0, "chars");
         const bool any = characters && !characters->is_none();
         const std::string text = to_text(v);
         if (any && expect_string(*characters, "argument 'chars'").empty()) return Value(text);
         return self.text(
             std::string(strip(text, any ? expect_string(*characters, "argument 'chars'") : "", true, true)));
       }},
      {"truncate", truncate},
      {"unique", unique},
      {"upper", [](I& self, V& v, A&) { return self.text(upper(to_text(v))); }},
      {"urlencode", [](I& self, V& v, A&) { return url_encode(self, v); }},
      {"wordcount", [](I&, V& v, A&) { return Value(count_words(to_text(v))); }},
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
