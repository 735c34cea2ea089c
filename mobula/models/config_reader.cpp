#include "mobula/models/config_reader.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>

#include "mobula/nn/layers/activation_kind.hpp"

namespace mobula::models {
void ConfigReader::refuse(std::string_view key, const Json& value, std::string_view expected) const {
  throw_invalid(
      fmt::format("config.json: {}{} is {}, expected {}", prefix_, key, to_line(value).substr(0, 80), expected));
}

nn::TokenId ConfigReader::token_id(std::string_view key, const Json& value) const {
  if (!value.is_number_integer() || value.get<std::int64_t>() < 0 ||
      value.get<std::int64_t>() > std::numeric_limits<nn::TokenId>::max()) {
    refuse(key, value, "a token id or a list of them");
  }
  return value.get<nn::TokenId>();
}

ConfigReader::ConfigReader(const Json& json) : json_(&json) {
  if (!json.is_object()) throw_invalid("config.json: expected an object");
}

ConfigReader::ConfigReader(const Json& json, std::string prefix) : json_(&json), prefix_(std::move(prefix)) {}

const Json* ConfigReader::find(std::string_view key) const {
  const auto found = json_->find(std::string(key));
  return found == json_->end() || found->is_null() ? nullptr : &*found;
}

bool ConfigReader::has(std::string_view key) const {
  return find(key) != nullptr;
}

std::int64_t ConfigReader::integer(std::string_view key, std::int64_t fallback, std::int64_t least,
                                   std::int64_t most) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  const bool whole = value->is_number_integer() &&
                     !(value->is_number_unsigned() && value->get<std::uint64_t>() > std::uint64_t{1} << 62);
  if (!whole || value->get<std::int64_t>() < least || value->get<std::int64_t>() > most) {
    refuse(key, *value, fmt::format("an integer from {} to {}", least, most));
  }
  return value->get<std::int64_t>();
}

double ConfigReader::number(std::string_view key, double fallback, double least, double most) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_number() || !(value->get<double>() >= least && value->get<double>() <= most)) {
    refuse(key, *value, fmt::format("a number from {} to {}", least, most));
  }
  return value->get<double>();
}

bool ConfigReader::boolean(std::string_view key, bool fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) refuse(key, *value, "true or false");
  return value->get<bool>();
}

std::string ConfigReader::text(std::string_view key, std::string_view fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) refuse(key, *value, "a string");
  return value->get<std::string>();
}

std::vector<nn::TokenId> ConfigReader::token_ids(std::string_view key, std::vector<nn::TokenId> fallback) const {
  const auto found = json_->find(std::string(key));
  if (found == json_->end()) return fallback;
  if (found->is_null()) return {};  // written as null: no such token
  if (!found->is_array()) return {token_id(key, *found)};
  std::vector<nn::TokenId> ids;
  for (const Json& entry : *found) ids.push_back(token_id(key, entry));
  return ids;
}

std::vector<std::string> ConfigReader::texts(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_array()) refuse(key, *value, "a list of strings");
  std::vector<std::string> texts;
  for (const Json& entry : *value) {
    if (!entry.is_string()) refuse(key, *value, "a list of strings");
    texts.push_back(entry.get<std::string>());
  }
  return texts;
}

std::vector<double> ConfigReader::numbers(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_array()) refuse(key, *value, "a list of numbers");
  std::vector<double> numbers;
  for (const Json& entry : *value) {
    if (!entry.is_number() || !std::isfinite(entry.get<double>())) refuse(key, *value, "a list of numbers");
    numbers.push_back(entry.get<double>());
  }
  return numbers;
}

std::optional<ConfigReader> ConfigReader::object(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) refuse(key, *value, "an object");
  return ConfigReader(*value, fmt::format("{}{}.", prefix_, key));
}

nn::Activation parse_activation(std::string_view key, std::string_view text) {
  try {
    return nn::parse_activation(text.substr(0, 80));
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("config.json: {}: {}", key, error.message()), error.hint());
  }
}

void throw_naming_config(const Error& error, const std::filesystem::path& path) {
  constexpr std::string_view kName = "config.json:";
  if (!error.message().starts_with(kName)) throw error;
  throw Error(error.code(), path.string() + ":" + error.message().substr(kName.size()), error.hint());
}

}  // namespace mobula::models
