/// JSON with its keys in the order they were written, and a parser that names the place of what is wrong.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace mobula {

/// A JSON value. Looking a key up is linear: meant for records of a few dozen keys, not for vocabularies.
using Json = nlohmann::ordered_json;

/// Parses `text`; `name` (a file, a request) leads the message of the Error(corrupt) it throws for bad
/// syntax, bad UTF-8 or nesting deeper than `max_depth`.
Json parse_json(std::string_view text, std::string_view name, std::size_t max_depth = 64);

/// Writes one line without spaces; floating-point numbers round-trip, those not finite become null, and
/// invalid UTF-8 becomes U+FFFD.
std::string to_line(const Json& value);

}  // namespace mobula
