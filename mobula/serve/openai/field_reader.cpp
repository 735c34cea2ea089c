#include "mobula/serve/openai/field_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "mobula/base/nearest.hpp"
#include "mobula/serve/openai/api_error.hpp"

namespace mobula::serve::openai {
namespace {

constexpr std::size_t kMaxQuoted = 80;

[[noreturn]] void refuse(const std::string& field, const Json& value, std::string_view wanted) {
  throw ApiError(400, fmt::format("'{}' must be {}, not {}", field, wanted, quote(value)), field, "invalid_value");
}

}  // namespace

std::string quote(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  std::string text = to_line(value);
  if (text.size() <= kMaxQuoted) return text;
  std::size_t cut = kMaxQuoted;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80) --cut;
  return text.substr(0, cut) + "...";
}

FieldReader::FieldReader(const Json& value, std::string path) : object_(value), path_(std::move(path)) {
  if (value.is_object()) return;
  if (path_.empty()) throw ApiError(400, fmt::format("the body must be a JSON object, not {}", quote(value)));
  refuse(path_, value, "an object");
}

std::string FieldReader::path_of(std::string_view name) const {
  return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

const Json* FieldReader::find(std::string_view name) {
  known_.emplace_back(name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<bool> FieldReader::boolean(std::string_view name) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) refuse(path_of(name), *value, "true or false");
  return value->get<bool>();
}

std::optional<std::int64_t> FieldReader::integer(std::string_view name, std::int64_t low, std::int64_t high) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  // Clients in languages with one number type write 16 as 16.0.
  const bool whole = value->is_number_float() && value->get<double>() == std::floor(value->get<double>()) &&
                     std::abs(value->get<double>()) < 9e15;
  const bool fits = !value->is_number_unsigned() || value->get<std::uint64_t>() <= INT64_MAX;
  if ((value->is_number_integer() && fits) || whole) {
    const std::int64_t number = whole ? static_cast<std::int64_t>(value->get<double>()) : value->get<std::int64_t>();
    if (number >= low && number <= high) return number;
  }
  const std::string range = high == INT64_MAX ? (low == INT64_MIN ? "" : fmt::format(" of at least {}", low))
                                              : fmt::format(" from {} to {}", low, high);
  refuse(path_of(name), *value, "an integer" + range);
}

std::optional<double> FieldReader::number(std::string_view name, double low, double high) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_number() && value->get<double>() >= low && value->get<double>() <= high) return value->get<double>();
  refuse(path_of(name), *value, fmt::format("a number from {} to {}", low, high));
}

std::optional<std::string> FieldReader::string(std::string_view name) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse(path_of(name), *value, "a string");
  return value->get<std::string>();
}

void FieldReader::only(std::string_view name, const std::vector<std::string>& values) {
  const Json* value = find(name);
  if (value == nullptr || std::find(values.begin(), values.end(), to_line(*value)) != values.end()) return;
  const std::string field = path_of(name);
  throw ApiError(400,
                 fmt::format("'{}' is not supported by this server{}", field,
                             values.empty() ? "" : fmt::format(", except as {}", fmt::join(values, " or "))),
                 field, "unsupported_value");
}

void FieldReader::finish() const {
  for (const auto& [name, value] : object_.items()) {
    if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
    const auto meant = nearest(name, known_);
    throw ApiError(
        400,
        fmt::format("unknown field '{}'{}", path_of(name), meant ? fmt::format("; did you mean '{}'?", *meant) : ""),
        path_of(name), "unknown_parameter");
  }
}

}  // namespace mobula::serve::openai
