#include "mobula/text/jinja/strings.hpp"

#include <utf8proc.h>

#include <algorithm>

#include "mobula/text/jinja/letter_case.hpp"
#include "mobula/text/jinja/lexer.hpp"
#include "mobula/text/unicode/properties.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text::jinja {
namespace {

template <class Map>
std::string map_characters(std::string_view text, Map&& map) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) map(next_code_point(text, at), out);
  return out;
}

bool in(std::string_view characters, char32_t c) {
  if (characters.empty()) return is_python_space(c);
  for (std::size_t at = 0; at < characters.size();) {
    if (next_code_point(characters, at) == c) return true;
  }
  return false;
}

bool is_line_break(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

}  // namespace

std::string fold_case(std::string_view text) {
  return map_characters(text, [](char32_t c, std::string& out) {
    utf8proc_int32_t folded[8];
    int last = 0;
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), folded, 8, UTF8PROC_CASEFOLD, &last);
    for (utf8proc_ssize_t i = 0; i < count; ++i) append_utf8(out, static_cast<char32_t>(folded[i]));
  });
}

std::string lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); at += utf8_length(text[at])) append_lower(text, at, out);
  return out;
}

std::string upper(std::string_view text) {
  return map_characters(text, append_upper);
}

std::string capitalize(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = next_code_point(text, at);
    begin == 0 ? append_title(c, out) : append_lower(text, begin, out);
  }
  return out;
}

std::string title(std::string_view text) {
  std::string out;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = next_code_point(text, at);
    inside ? append_lower(text, begin, out) : append_title(c, out);
    inside = is_cased(c);
  }
  return out;
}

std::string swap_case(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = next_code_point(text, at);
    if (is_upper(c)) {
      append_lower(text, begin, out);
    } else if (is_lower(c)) {
      append_upper(c, out);
    } else {
      out.append(text, begin, at - begin);
    }
  }
  return out;
}

std::string_view strip(std::string_view text, std::string_view characters, bool left, bool right) {
  while (left && !text.empty()) {
    std::size_t at = 0;
    if (!in(characters, next_code_point(text, at))) break;
    text.remove_prefix(at);
  }
  while (right && !text.empty()) {
    std::size_t end = text.size();
    if (!in(characters, previous_code_point(text, end))) break;
    text = text.substr(0, end);
  }
  return text;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t count) {
  std::string out;
  if (from.empty()) {
    // Python puts the replacement before every character and at the end.
    for (std::size_t at = 0;;) {
      if (count != 0) {
        out += to;
        --count;
      }
      if (at >= text.size()) return out;
      const std::size_t length = utf8_length(text[at]);
      out += text.substr(at, length);
      at += length;
    }
  }
  for (std::size_t at = 0;;) {
    const std::size_t found = count == 0 ? std::string_view::npos : text.find(from, at);
    out += text.substr(at, found - at);
    if (found == std::string_view::npos) return out;
    out += to;
    at = found + from.size();
    --count;
  }
}

std::vector<std::string> split_space(std::string_view text, std::int64_t max_splits) {
  std::vector<std::string> parts;
  for (;;) {
    text = strip(text, "", true, false);
    if (text.empty()) return parts;
    if (max_splits == 0) {
      parts.emplace_back(text);
      return parts;
    }
    --max_splits;
    std::size_t end = 0;
    while (end < text.size()) {
      std::size_t next = end;
      if (is_python_space(next_code_point(text, next))) break;
      end = next;
    }
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

std::vector<std::string> split_at(std::string_view text, std::string_view separator, std::int64_t max_splits) {
  std::vector<std::string> parts;
  for (;;) {
    const std::size_t found = max_splits == 0 ? std::string_view::npos : text.find(separator);
    parts.emplace_back(text.substr(0, found));
    if (found == std::string_view::npos) return parts;
    text.remove_prefix(found + separator.size());
    --max_splits;
  }
}

std::vector<std::string> split_at_right(std::string_view text, std::string_view separator, std::int64_t max_splits) {
  std::vector<std::string> parts;
  for (;;) {
    const std::size_t found = max_splits == 0 ? std::string_view::npos : text.rfind(separator);
    if (found == std::string_view::npos) {
      parts.emplace_back(text);
      break;
    }
    parts.emplace_back(text.substr(found + separator.size()));
    text = text.substr(0, found);
    --max_splits;
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = at;
    if (!is_line_break(next_code_point(text, at))) continue;
    if (text[end] == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.emplace_back(text.substr(begin, (keep_ends ? at : end) - begin));
    begin = at;
  }
  if (begin < text.size()) lines.emplace_back(text.substr(begin));
  return lines;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace mobula::text::jinja
