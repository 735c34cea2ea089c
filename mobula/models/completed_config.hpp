/// A config.json under completion: what it leaves out is filled in with the default it stands for, so that the file we
/// write back means the same whatever defaults its reader has.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mobula/models/config_reader.hpp"

namespace mobula::models {

/// Reads like ConfigReader and writes the default where a key is absent or null.
class CompletedConfig {
 public:
  /// Copies `json`; throws Error(invalid_argument) where it is no object.
  explicit CompletedConfig(const Json& json) : json_(json) { ConfigReader{json_}; }

  std::int64_t integer(std::string_view key, std::int64_t fallback, std::int64_t least = 1,
                       std::int64_t most = std::int64_t{1} << 31) {
    return fill(key, reader().integer(key, fallback, least, most));
  }
  double number(std::string_view key, double fallback, double least = 0.0, double most = 1e9) {
    return fill(key, reader().number(key, fallback, least, most));
  }
  bool boolean(std::string_view key, bool fallback) { return fill(key, reader().boolean(key, fallback)); }
  std::string text(std::string_view key, std::string_view fallback) { return fill(key, reader().text(key, fallback)); }
  nn::Activation activation(std::string_view key, std::string_view fallback) {
    return parse_activation(key, text(key, fallback));
  }
  /// Reads an integer that may be written as null, which means none and is returned as 0; only an absent one takes the
  /// default.
  std::int64_t integer_or_none(std::string_view key, std::int64_t fallback) {
    if (!json_.contains(std::string(key))) return fallback == 0 ? 0 : fill(key, fallback);
    return reader().integer(key, 0);
  }
  /// The same for a positive number.
  double number_or_none(std::string_view key, double fallback) {
    if (!json_.contains(std::string(key))) return fallback == 0.0 ? 0.0 : fill(key, fallback);
    return reader().number(key, 0.0);
  }
  /// Moves the value under `alias`, another spelling of `key`, to `key` unless something stands there.
  void adopt(std::string_view key, std::string_view alias) {
    const auto found = json_.find(std::string(alias));
    if (found == json_.end()) return;
    Json value = *found;
    json_.erase(std::string(alias));
    if (!json_.contains(std::string(key))) json_[std::string(key)] = std::move(value);
  }

  /// Returns eos_token_id; one written as null stays null and means none.
  std::vector<nn::TokenId> eos_token_ids(std::vector<nn::TokenId> fallback) {
    auto ids = reader().token_ids("eos_token_id", std::move(fallback));
    if (!json_.contains("eos_token_id")) {
      if (ids.empty()) {
        json_["eos_token_id"] = nullptr;
      } else if (ids.size() == 1) {
        json_["eos_token_id"] = ids[0];
      } else {
        json_["eos_token_id"] = ids;
      }
    }
    return ids;
  }

  /// Returns a reader that leaves the object as it is; valid until the next call that fills in a key.
  ConfigReader reader() const { return ConfigReader(json_); }
  Json& json() noexcept { return json_; }

 private:
  template <class T>
  T fill(std::string_view key, T value) {
    Json& place = json_[std::string(key)];
    if (place.is_null()) place = value;
    return value;
  }

  Json json_;
};

}  // namespace mobula::models
