/// Cuts a template into text, delimiters and the tokens between them, with Jinja's rules for white space.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mobula::text::jinja {

enum class TokenKind { text, output_begin, output_end, block_begin, block_end, name, string, integer, real, sign, end };

struct Token {
  TokenKind kind = TokenKind::end;
  int line = 1;
  std::string text;  ///< the text, name, string's value or sign
  std::int64_t integer = 0;
  double real = 0;

  bool is_sign(std::string_view sign) const { return kind == TokenKind::sign && text == sign; }
  bool is_name(std::string_view name) const { return kind == TokenKind::name && text == name; }
};

/// What is wrong with a template, and where.
struct SyntaxError {
  int line;
  std::string message;
};

/// Cuts valid UTF-8; trim_blocks and lstrip_blocks are on, one line break at the end is dropped. Throws SyntaxError.
std::vector<Token> cut_template(std::string_view source);

/// White space as Python's str.strip() and \s see it.
bool is_python_space(char32_t code_point);

}  // namespace mobula::text::jinja
