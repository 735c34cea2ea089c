#include "mobula/text/loader/json_reader.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {

void JsonValue::fail(std::string_view what) const {
  throw Error(ErrorCode::corrupt, fmt::format("{}: {}", path_, what),
              "is this a tokenizer.json of Hugging Face's tokenizers?");
}

void JsonValue::unsupported(std::string_view what) const {
  throw Error(ErrorCode::unsupported, fmt::format("{}: {}", path_, what));
}

std::optional<JsonValue> JsonValue::find(std::string_view key) const {
  const auto found = object().at_key(key);
  if (found.error() != simdjson::SUCCESS || found.value_unsafe().is_null()) return std::nullopt;
  return JsonValue(found.value_unsafe(), fmt::format("{}{}{}", path_, path_.ends_with(": ") ? "" : ".", key));
}

JsonValue JsonValue::at(std::string_view key) const {
  auto found = find(key);
  if (!found) {
    throw Error(ErrorCode::corrupt, fmt::format("{}{}'{}' is missing", path_, path_.ends_with(": ") ? "" : ": ", key),
                "is this a tokenizer.json of Hugging Face's tokenizers?");
  }
  return *std::move(found);
}

std::string_view JsonValue::string() const {
  std::string_view value;
  if (element_.get(value) != simdjson::SUCCESS) fail("expected a string");
  return value;
}

bool JsonValue::boolean() const {
  bool value = false;
  if (element_.get(value) != simdjson::SUCCESS) fail("expected true or false");
  return value;
}

double JsonValue::number() const {
  double value = 0;
  if (element_.get(value) != simdjson::SUCCESS) fail("expected a number");
  return value;
}

std::int64_t JsonValue::integer(std::int64_t limit) const {
  std::int64_t value = 0;
  if (element_.get(value) != simdjson::SUCCESS || value < 0 || value > limit) {
    fail(fmt::format("expected an integer from 0 to {}", limit));
  }
  return value;
}

simdjson::dom::array JsonValue::array() const {
  simdjson::dom::array value;
  if (element_.get(value) != simdjson::SUCCESS) fail("expected an array");
  return value;
}

simdjson::dom::object JsonValue::object() const {
  simdjson::dom::object value;
  if (element_.get(value) != simdjson::SUCCESS) fail("expected an object");
  return value;
}

JsonValue JsonValue::item(simdjson::dom::element element, std::size_t index) const {
  return {element, fmt::format("{}[{}]", path_, index)};
}

std::vector<JsonValue> JsonValue::items() const {
  std::vector<JsonValue> values;
  for (const simdjson::dom::element element : array()) values.push_back(item(element, values.size()));
  return values;
}

char32_t JsonValue::character() const {
  const std::string_view value = string();
  std::size_t at = 0;
  const char32_t result = value.empty() ? 0 : next_code_point(value, at);
  if (value.empty() || at != value.size()) fail("expected one character");
  return result;
}

bool JsonValue::flag(std::string_view key, bool otherwise) const {
  const auto value = find(key);
  return value ? value->boolean() : otherwise;
}

std::string JsonValue::text(std::string_view key, std::string_view otherwise) const {
  const auto value = find(key);
  return std::string(value ? value->string() : otherwise);
}

}  // namespace mobula::text
