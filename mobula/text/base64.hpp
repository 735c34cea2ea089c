/// Base64 (RFC 4648).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mobula::text {

/// Returns the bytes, nothing where a character is none of the alphabet; padding may be missing.
std::optional<std::string> decode_base64(std::string_view text);
std::string encode_base64(std::string_view bytes);

}  // namespace mobula::text
