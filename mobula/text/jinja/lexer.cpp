#include "mobula/text/jinja/lexer.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>

#include "mobula/text/unicode/properties.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text::jinja {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_byte(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

std::string_view strip_right(std::string_view text) {
  while (!text.empty()) {
    std::size_t end = text.size();
    if (!is_python_space(previous_code_point(text, end))) break;
    text = text.substr(0, end);
  }
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) {
    // Every line break becomes \n, and one at the end goes.
    for (std::size_t i = 0; i < source.size(); ++i) {
      if (source[i] != '\r') {
        source_ += source[i];
      } else {
        source_ += '\n';
        if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      }
    }
    if (source_.ends_with('\n')) source_.pop_back();
  }

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const std::size_t tag = find_tag();
      if (tag == std::string::npos) {
        add_text(source_.substr(at_));
        at_ = source_.size();
        break;
      }
      const char kind = source_[tag + 1];
      std::size_t inside = tag + 2;
      char sign = 0;
      if (inside < source_.size() && (source_[inside] == '-' || source_[inside] == '+') &&
          !(kind == '{' && source_[inside] == '+')) {
        sign = source_[inside++];
      }
      add_text(before_tag(source_.substr(at_, tag - at_), sign, kind != '{'));
      count_lines(at_, tag);
      if (kind == '#') {
        comment(inside);
      } else if (kind == '%' && raw(inside)) {
      } else {
        add(kind == '{' ? TokenKind::output_begin : TokenKind::block_begin);
        at_ = inside;
        expression(kind);
      }
      line_starting_ = at_ > 0 && source_[at_ - 1] == '\n';
    }
    add(TokenKind::end);
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(std::string message) const { throw SyntaxError{line_, std::move(message)}; }

  void add(TokenKind kind, std::string text = {}) { tokens_.push_back({kind, line_, std::move(text)}); }
  void add_text(std::string_view text) {
    if (!text.empty()) add(TokenKind::text, std::string(text));
  }
  void count_lines(std::size_t from, std::size_t to) {
    for (; from < to; ++from) line_ += source_[from] == '\n';
  }

  std::size_t find_tag() const {
    for (std::size_t at = source_.find('{', at_); at != std::string::npos; at = source_.find('{', at + 1)) {
      if (at + 1 < source_.size() && (source_[at + 1] == '{' || source_[at + 1] == '%' || source_[at + 1] == '#'))
        return at;
    }
    return std::string::npos;
  }

  // Applies the tag's sign, or lstrip_blocks, to the text before it.
  std::string_view before_tag(std::string text, char sign, bool strippable) {
    held_ = std::move(text);
    std::string_view view = held_;
    if (sign == '-') return strip_right(view);
    if (sign == '+' || !strippable) return view;
    const std::size_t line = view.rfind('\n') + 1;  // npos + 1 is 0
    if (line == 0 && !line_starting_) return view;
    return strip_right(view.substr(line)).empty() ? view.substr(0, line) : view;
  }

  // Moves behind the end of a tag at `end` (its two bytes) with the rules for what follows.
  void close(std::size_t end, char sign, bool trim_newline) {
    std::size_t next = end + 2;
    if (sign == '-') {
      while (next < source_.size()) {
        std::size_t behind = next;
        if (!is_python_space(next_code_point(source_, behind))) break;
        next = behind;
      }
    } else if (sign != '+' && trim_newline && next < source_.size() && source_[next] == '\n') {
      ++next;
    }
    count_lines(end, next);
    at_ = next;
  }

  void comment(std::size_t inside) {
    const std::size_t end = source_.find("#}", inside);
    if (end == std::string::npos) fail("a comment is not closed: expected '#}'");
    const char last = end > inside ? source_[end - 1] : 0;
    count_lines(inside, end);
    close(end, last == '-' || last == '+' ? last : 0, true);
  }

  // Reads {% raw %} ... {% endraw %}; returns false where the tag is another one.
  bool raw(std::size_t inside) {
    std::size_t at = skip_space(inside);
    if (source_.compare(at, 3, "raw") != 0) return false;
    at = skip_space(at + 3);
    char sign = 0;
    if (at < source_.size() && source_[at] == '-') sign = source_[at++];
    if (source_.compare(at, 2, "%}") != 0) return false;
    count_lines(inside, at);
    close(at, sign, false);
    line_starting_ = at_ > 0 && source_[at_ - 1] == '\n';
    for (std::size_t tag = source_.find("{%", at_); tag != std::string::npos; tag = source_.find("{%", tag + 1)) {
      std::size_t next = tag + 2;
      char begin_sign = 0;
      if (next < source_.size() && (source_[next] == '-' || source_[next] == '+')) begin_sign = source_[next++];
      next = skip_space(next);
      if (source_.compare(next, 6, "endraw") != 0) continue;
      next = skip_space(next + 6);
      char end_sign = 0;
      if (next < source_.size() && (source_[next] == '-' || source_[next] == '+')) end_sign = source_[next++];
      if (source_.compare(next, 2, "%}") != 0) continue;
      add_text(before_tag(source_.substr(at_, tag - at_), begin_sign, true));
      count_lines(at_, next);
      close(next, end_sign, true);
      return true;
    }
    fail("{% raw %} is not closed: expected {% endraw %}");
  }

  std::size_t skip_space(std::size_t at) const {
    while (at < source_.size()) {
      std::size_t next = at;
      if (!is_python_space(next_code_point(source_, next))) break;
      at = next;
    }
    return at;
  }

  // Reads tokens up to the end of the tag.
  void expression(char kind) {
    const char* end = kind == '{' ? "}}" : "%}";
    std::string open;  // brackets that wait to be closed
    for (;;) {
      const std::size_t next = skip_space(at_);
      count_lines(at_, next);
      at_ = next;
      if (at_ >= source_.size()) fail(fmt::format("a tag is not closed: expected '{}'", end));
      const char c = source_[at_];
      if (open.empty()) {
        const bool signed_end = (c == '-' || (c == '+' && kind == '%')) && source_.compare(at_ + 1, 2, end) == 0;
        if (signed_end || source_.compare(at_, 2, end) == 0) {
          add(kind == '{' ? TokenKind::output_end : TokenKind::block_end);
          close(signed_end ? at_ + 1 : at_, signed_end ? c : 0, kind == '%');
          return;
        }
      }
      if (is_digit(c)) {
        number();
      } else if (is_name_byte(c)) {
        const std::size_t begin = at_;
        while (at_ < source_.size() && is_name_byte(source_[at_])) ++at_;
        add(TokenKind::name, source_.substr(begin, at_ - begin));
      } else if (c == '"' || c == '\'') {
        string(c);
      } else {
        sign(open);
      }
    }
  }

  void sign(std::string& open) {
    static constexpr std::string_view kSigns[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                  "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                  ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    for (const std::string_view sign : kSigns) {
      if (source_.compare(at_, sign.size(), sign) != 0) continue;
      const char c = sign[0];
      if (c == '(' || c == '[' || c == '{') {
        open += c == '(' ? ')' : c == '[' ? ']' : '}';
        if (open.size() > 500) fail("brackets are nested too deeply");
      } else if (c == ')' || c == ']' || c == '}') {
        if (open.empty()) fail(fmt::format("unexpected '{}'", c));
        if (open.back() != c) fail(fmt::format("unexpected '{}', expected '{}'", c, open.back()));
        open.pop_back();
      }
      add(TokenKind::sign, std::string(sign));
      at_ += sign.size();
      return;
    }
    fail(fmt::format("unexpected character '{}'", source_.substr(at_, utf8_length(source_[at_]))));
  }

  void number() {
    std::string digits;
    const std::size_t begin = at_;
    int base = 10;
    if (source_[at_] == '0' && at_ + 1 < source_.size()) {
      const char mark = static_cast<char>(source_[at_ + 1] | 0x20);
      base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
      if (base != 10) at_ += 2;
    }
    const auto take = [&](auto&& accept) {
      while (at_ < source_.size() && (accept(source_[at_]) || (source_[at_] == '_' && at_ > begin))) {
        if (source_[at_] != '_') digits += source_[at_];
        ++at_;
      }
    };
    take([&](char c) { return is_digit(c) || (base == 16 && std::isxdigit(static_cast<unsigned char>(c))); });
    bool real = false;
    // A number behind a dot is an index: a.0.1
    const bool index = !tokens_.empty() && tokens_.back().is_sign(".");
    if (base == 10 && !index) {
      if (at_ + 1 < source_.size() && source_[at_] == '.' && is_digit(source_[at_ + 1])) {
        real = true;
        digits += source_[at_++];
        take(is_digit);
      }
      std::size_t exponent = at_;
      if (exponent < source_.size() && (source_[exponent] | 0x20) == 'e') {
        ++exponent;
        if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) ++exponent;
        if (exponent < source_.size() && is_digit(source_[exponent])) {
          real = true;
          digits += source_.substr(at_, exponent - at_);
          at_ = exponent;
          take(is_digit);
        }
      }
    }
    Token token{real ? TokenKind::real : TokenKind::integer, line_, {}};
    if (real) {
      token.real = std::strtod(digits.c_str(), nullptr);
    } else {
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), token.integer, base);
      if (error != std::errc{} || end != digits.data() + digits.size())
        fail(fmt::format("the number {} is too large", source_.substr(begin, at_ - begin)));
    }
    tokens_.push_back(std::move(token));
  }

  void string(char quote) {
    std::string value;
    std::size_t at = at_ + 1;
    for (;; ++at) {
      if (at >= source_.size()) fail("a string is not closed");
      if (source_[at] == quote) break;
      if (source_[at] != '\\') {
        value += source_[at];
        continue;
      }
      if (++at >= source_.size()) fail("a string is not closed");
      escape(at, value);
    }
    count_lines(at_, at);
    at_ = at + 1;
    add(TokenKind::string, std::move(value));
  }

  // Python's escapes; `at` is at the character behind the backslash and stays on the escape's last one.
  void escape(std::size_t& at, std::string& out) {
    const char c = source_[at];
    static constexpr std::string_view kFrom = "abfnrtv\\'\"";
    static constexpr std::string_view kTo = "\a\b\f\n\r\t\v\\'\"";
    if (const std::size_t known = kFrom.find(c); known != std::string_view::npos) {
      out += kTo[known];
      return;
    }
    if (c == '\n') return;
    const auto number = [&](std::size_t begin, std::size_t count, int base) {
      unsigned value = 0;
      const char* first = source_.data() + begin;
      const char* last = source_.data() + std::min(begin + count, source_.size());
      const auto [end, error] = std::from_chars(first, last, value, base);
      if (error != std::errc{} || (base == 16 && end != first + count)) fail("a string has a bad escape");
      at = begin + static_cast<std::size_t>(end - first) - 1;
      if (value > 0x10FFFF) fail("a string has a bad escape");
      return static_cast<char32_t>(value);
    };
    if (c == 'x') return append_utf8(out, number(at + 1, 2, 16));
    if (c == 'u' || c == 'U') {
      char32_t value = number(at + 1, c == 'u' ? 4 : 8, 16);
      if (value >= 0xD800 && value < 0xE000) {
        // A pair of surrogates is one character; one alone is none.
        if (value >= 0xDC00 || source_.compare(at + 1, 2, "\\u") != 0) fail("a string has half a surrogate pair");
        const char32_t low = number(at + 3, 4, 16);
        if (low < 0xDC00 || low >= 0xE000) fail("a string has half a surrogate pair");
        value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
      }
      return append_utf8(out, value);
    }
    if (c >= '0' && c <= '7') return append_utf8(out, number(at, 3, 8));
    out += '\\';
    out += c;
  }

  std::string source_;
  std::string held_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

bool is_python_space(char32_t c) {
  return is_space(c) || (c >= 0x1C && c <= 0x1F);
}

std::vector<Token> cut_template(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace mobula::text::jinja
