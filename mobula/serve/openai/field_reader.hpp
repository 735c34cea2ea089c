/// Reads the fields of a JSON object one by one, and refuses what was not read: nothing a client asks for is ignored.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/base/json.hpp"

namespace mobula::serve::openai {

/// Reads one object. A field that is null counts as absent. Every reading method throws ApiError(400) that names the field
/// and what it must be. Call finish() after the last field.
class FieldReader {
 public:
  /// `path` leads the fields' names in messages: "" or "stream_options". Throws ApiError where `value` is no object.
  FieldReader(const Json& value, std::string path);

  /// Returns the field's value, or null where it is absent.
  const Json* find(std::string_view name);
  std::optional<bool> boolean(std::string_view name);
  std::optional<std::int64_t> integer(std::string_view name, std::int64_t low, std::int64_t high);
  std::optional<double> number(std::string_view name, double low, double high);
  std::optional<std::string> string(std::string_view name);

  /// Takes a field that this server only knows with one of `values` (JSON text), which change nothing.
  void only(std::string_view name, const std::vector<std::string>& values);
  /// Takes a field that describes the caller and changes nothing about the answer: any string.
  void label(std::string_view name) { string(name); }
  /// Refuses every field that no method asked for, suggesting the nearest name.
  void finish() const;

  /// Returns "path.name".
  std::string path_of(std::string_view name) const;

 private:
  const Json& object_;
  std::string path_;
  std::vector<std::string> known_;
};

/// Shortens a JSON value for a message.
std::string quote(const Json& value);

}  // namespace mobula::serve::openai
