/// Reading tokenizer.json with errors that name the file and the key.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mobula::text {

/// A value of a JSON document and the way to it.
class JsonValue {
 public:
  JsonValue(simdjson::dom::element element, std::string path) : element_(element), path_(std::move(path)) {}

  /// Returns the member `key`, or nothing where it is absent or null. Throws where this is no object.
  std::optional<JsonValue> find(std::string_view key) const;
  /// Returns the member `key`; throws where it is absent or null.
  JsonValue at(std::string_view key) const;
  bool is_object() const { return element_.is_object(); }
  bool is_array() const { return element_.is_array(); }
  bool is_string() const { return element_.is_string(); }

  /// Each throws Error(corrupt) naming the key where the value is of another type. Views live as long as the
  /// document.
  std::string_view string() const;
  bool boolean() const;
  double number() const;
  /// Returns an integer in [0, limit].
  std::int64_t integer(std::int64_t limit) const;
  simdjson::dom::array array() const;
  simdjson::dom::object object() const;
  std::vector<JsonValue> items() const;
  /// Returns the only character of a string.
  char32_t character() const;

  bool flag(std::string_view key, bool otherwise) const;
  std::string text(std::string_view key, std::string_view otherwise) const;

  /// Returns the value at place `index` of an array, which `element` is: only the path is made.
  JsonValue item(simdjson::dom::element element, std::size_t index) const;
  const std::string& path() const { return path_; }
  simdjson::dom::element element() const { return element_; }
  /// Throws Error(corrupt) "FILE: KEY: what".
  [[noreturn]] void fail(std::string_view what) const;
  /// Throws Error(unsupported) "FILE: KEY: what".
  [[noreturn]] void unsupported(std::string_view what) const;

 private:
  simdjson::dom::element element_;
  std::string path_;
};

}  // namespace mobula::text
