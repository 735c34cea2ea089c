/// Reads Hugging Face's config.json key by key, with ranges.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/nn/generate/engine.hpp"
#include "mobula/nn/layers/activation_kind.hpp"

namespace mobula::models {

/// Looks keys up in one JSON object. Absent and null keys give the fallback; a wrong type or a value out of
/// range throws Error(invalid_argument) that names the key. Holds a reference to the object.
class ConfigReader {
 public:
  /// Throws Error(invalid_argument) where `json` is no object.
  explicit ConfigReader(const Json& json);

  /// Tells whether the key is there and not null.
  bool has(std::string_view key) const;
  /// Returns an integer of [least, most].
  std::int64_t integer(std::string_view key, std::int64_t fallback, std::int64_t least = 1,
                       std::int64_t most = std::int64_t{1} << 31) const;
  /// Returns a finite number of [least, most].
  double number(std::string_view key, double fallback, double least = 0.0, double most = 1e9) const;
  bool boolean(std::string_view key, bool fallback) const;
  std::string text(std::string_view key, std::string_view fallback) const;
  /// Returns the ids under `key`: one number or a list of numbers.
  std::vector<nn::TokenId> token_ids(std::string_view key, std::vector<nn::TokenId> fallback) const;
  /// Returns the strings under `key`; nothing where it is absent.
  std::vector<std::string> texts(std::string_view key) const;
  /// Returns the finite numbers under `key`; nothing where it is absent.
  std::vector<double> numbers(std::string_view key) const;
  /// Returns the object under `key`, or nothing. Its keys are named as "key.inner" in messages.
  std::optional<ConfigReader> object(std::string_view key) const;
  const Json& json() const noexcept { return *json_; }

 private:
  ConfigReader(const Json& json, std::string prefix);
  const Json* find(std::string_view key) const;
  [[noreturn]] void refuse(std::string_view key, const Json& value, std::string_view expected) const;
  nn::TokenId token_id(std::string_view key, const Json& value) const;

  const Json* json_;
  std::string prefix_;
};

/// Returns the activation of that name. Throws Error(unsupported) naming the key.
nn::Activation parse_activation(std::string_view key, std::string_view text);

/// Throws a copy of `error` in which a leading "config.json:" is `path`, the file that was read.
[[noreturn]] void throw_naming_config(const Error& error, const std::filesystem::path& path);

/// Returns what `read` returns. Errors that speak of config.json name `path`.
template <class Read>
auto naming_config(const std::filesystem::path& path, Read read) {
  try {
    return read();
  } catch (const Error& error) {
    throw_naming_config(error, path);
  }
}

}  // namespace mobula::models
