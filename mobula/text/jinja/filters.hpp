/// What the filters of filters.cpp share: reading arguments, and those on texts and numbers.
#pragma once

#include <string>
#include <string_view>

#include "mobula/text/jinja/interpreter.hpp"

namespace mobula::text::jinja {

/// Returns argument `index` or `name`, `otherwise` where it wasn't given; throws Failure where it is of another type.
std::string text_argument(const Arguments& given, std::size_t index, std::string_view name, std::string otherwise);
std::int64_t integer_argument(const Arguments& given, std::size_t index, std::string_view name, std::int64_t otherwise);
/// Tells whether an argument is true.
bool flag(const Arguments& given, std::size_t index, std::string_view name, bool otherwise);
/// Returns Python's len(). Throws Failure for what has none.
Value length_of(const Value& value);

// The filters of these names (int, float, indent, round, truncate, title, urlencode, tojson, wordcount, striptags).
Value to_integer(const Value& value, const Arguments& given);
Value to_real(const Value& value, const Arguments& given);
Value indent(Interpreter& self, const Value& value, const Arguments& given);
Value round_number(const Value& value, const Arguments& given);
Value truncate(Interpreter& self, const Value& value, const Arguments& given);
Value title_words(Interpreter& self, const Value& value);
Value url_encode(Interpreter& self, const Value& value);
Value to_json(Interpreter& self, const Value& value, const Arguments& given);
std::int64_t count_words(const std::string& text);
Value strip_tags(Interpreter& self, const Value& value);

}  // namespace mobula::text::jinja
