/// Regular expressions as tokenizer.json spells them (Oniguruma's syntax), run by PCRE2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/text/pieces.hpp"

namespace mobula::text {

/// A compiled expression. Immutable and thread-safe; copies share it.
class Regex {
 public:
  /// Compiles a pattern. Classes stand for the characters that the tokenizers library's own expressions match, whatever
  /// Unicode version PCRE2 has. Throws Error(corrupt) with `name` first.
  static Regex compile(std::string_view pattern, std::string_view name);
  /// Makes an expression that matches `text` itself.
  static Regex literal(std::string_view text, std::string_view name);

  /// Returns the expression as it was given; empty for literal ones.
  std::string_view pattern() const { return pattern_; }
  /// Returns the text that a literal expression matches, empty for others.
  std::string_view literal_text() const { return literal_; }

  /// Appends the stretches of valid UTF-8: matches, and what stands between them. Throws Error(resource) where matching
  /// takes too long.
  void find_all(std::string_view text, std::vector<Stretch>& out) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
  std::string pattern_;
  std::string literal_;  ///< where not empty, searched for as it is
};

/// Rewrites a pattern of Oniguruma's syntax for PCRE2. Throws std::string with what is wrong.
std::string translate_pattern(std::string_view pattern);

}  // namespace mobula::text
