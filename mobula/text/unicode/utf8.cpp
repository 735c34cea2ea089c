#include "mobula/text/unicode/utf8.hpp"

#include <simdjson.h>

namespace mobula::text {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct Step {
  std::size_t length;
  bool valid;
  bool cut;  ///< the text ended where a valid continuation could stand
};

// Table 3-7 of the Unicode standard: which second bytes may follow each lead byte.
Step step(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(at);
  if (lead < 0x80) return {1, true, false};
  if (lead < 0xC2 || lead > 0xF4) return {1, false, false};
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (std::size_t i = 1; i < length; ++i) {
    if (at + i == text.size()) return {i, false, true};
    const unsigned next = byte(at + i);
    if (next < (i == 1 ? low : 0x80) || next > (i == 1 ? high : 0xBF)) return {i, false, false};
  }
  return {length, true, false};
}

}  // namespace

void append_utf8(std::string& out, char32_t code_point) {
  if (code_point < 0x80) {
    out += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    out += static_cast<char>(0xC0 | code_point >> 6);
    out += static_cast<char>(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    out += static_cast<char>(0xE0 | code_point >> 12);
    out += static_cast<char>(0x80 | (code_point >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code_point & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | code_point >> 18);
    out += static_cast<char>(0x80 | (code_point >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (code_point >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code_point & 0x3F));
  }
}

std::size_t count_code_points(std::string_view text) {
  std::size_t count = 0;
  for (const char byte : text) count += !is_utf8_continuation(byte);
  return count;
}

bool is_valid_utf8(std::string_view text) {
  return simdjson::validate_utf8(text.data(), text.size());
}

void append_repaired_utf8(std::string& out, std::string_view text,
                          std::vector<std::pair<std::size_t, std::size_t>>* origin) {
  for (std::size_t at = 0; at < text.size();) {
    const Step next = step(text, at);
    const std::string_view bytes = next.valid ? text.substr(at, next.length) : kReplacement;
    out += bytes;
    if (origin != nullptr) origin->insert(origin->end(), bytes.size(), {at, at + next.length});
    at += next.length;
  }
}

std::size_t complete_utf8_prefix(std::string_view text) {
  // Only the last three bytes can begin a character that is cut off.
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const std::size_t at = text.size() - back;
    if (is_utf8_continuation(text[at])) continue;
    return step(text, at).cut ? at : text.size();
  }
  return text.size();
}

}  // namespace mobula::text
