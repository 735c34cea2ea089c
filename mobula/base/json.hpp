/// JSON with its keys in the order they were written, and a parser that names the place of what is wrong.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace mobula {

/// A JSON value. Looking a key up is linear: meant for records of a few dozen keys, not for vocabularies.
using Json = nlohmann::ordered_json;

/// What a document may hold. An object takes time quadratic in its members, so text from strangers needs a bound.
struct JsonLimits {
  std::size_t max_depth = 64;
  std::size_t max_members = static_cast<std::size_t>(-1);  ///< of one object
};

/// Parses `text`; `name` (a file, a request) leads the message of the Error(corrupt) it throws for bad
/// syntax, bad UTF-8 or a document over the limits.
Json parse_json(std::string_view text, std::string_view name, const JsonLimits& limits = {});

/// Writes one line without spaces; floating-point numbers round-trip, those not finite become null, and
/// invalid UTF-8 becomes U+FFFD.
std::string to_line(const Json& value);

}  // namespace mobula
