#include "mobula/text/pre_tokenizers/pattern_scanner.hpp"

#include <array>

#include "mobula/text/unicode/properties.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

enum Class : std::uint8_t { kOther, kLetter, kNumber, kSpace };

constexpr std::array<std::uint8_t, 128> kAsciiClass = [] {
  std::array<std::uint8_t, 128> table{};
  for (int c = 0; c < 128; ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool number = c >= '0' && c <= '9';
    const bool space = c == ' ' || (c >= 9 && c <= 13);
    table[static_cast<std::size_t>(c)] = letter ? kLetter : number ? kNumber : space ? kSpace : kOther;
  }
  return table;
}();

Class unicode_class(char32_t c) {
  if (is_letter(c)) return kLetter;
  if (is_number(c)) return kNumber;
  return is_space(c) ? kSpace : kOther;
}

class Scanner {
 public:
  Scanner(std::string_view text, std::uint32_t base, std::vector<Piece>& out) : text_(text), base_(base), out_(out) {}

  // '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  void gpt2() {
    for (std::size_t at = 0; at < text_.size();) {
      std::size_t end = at;
      if (text_[at] == '\'' && (end = contraction(at, false)) != at) {
        emit(at, end);
        continue;
      }
      std::size_t next = at;
      Class kind = take(next);
      if (kind == kSpace) {
        if (text_[at] == ' ' && next < text_.size()) {
          std::size_t behind = next;
          kind = take(behind);
          if (kind != kSpace) next = behind;
        }
        if (kind == kSpace) {
          emit(at, spaces(at));
          continue;
        }
      }
      run(next, kind);
      emit(at, next);
    }
  }

  // (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,k}|
  // ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
  void gpt4(int max_digits) {
    for (std::size_t at = 0; at < text_.size();) {
      std::size_t end = at;
      if (text_[at] == '\'' && (end = contraction(at, true)) != at) {
        emit(at, end);
        continue;
      }
      std::size_t next = at;
      const Class kind = take(next);
      if (kind == kLetter) {
        run(next, kLetter);
        emit(at, next);
        continue;
      }
      if (kind == kNumber) {
        for (int digits = 1; digits < max_digits && next < text_.size(); ++digits) {
          std::size_t behind = next;
          if (take(behind) != kNumber) break;
          next = behind;
        }
        emit(at, next);
        continue;
      }
      const bool newline = text_[at] == '\r' || text_[at] == '\n';
      Class behind_kind = kSpace;
      std::size_t behind = next;
      if (next < text_.size()) behind_kind = take(behind);
      if (!newline && next < text_.size() && behind_kind == kLetter) {
        run(behind, kLetter);
        emit(at, behind);
        continue;
      }
      if (kind == kOther || (text_[at] == ' ' && next < text_.size() && behind_kind == kOther)) {
        if (kind != kOther) next = behind;
        run(next, kOther);
        while (next < text_.size() && (text_[next] == '\r' || text_[next] == '\n')) ++next;
        emit(at, next);
        continue;
      }
      emit(at, spaces_or_lines(at));
    }
  }

 private:
  // Moves `at` behind a character and tells its class.
  Class take(std::size_t& at) const {
    const auto byte = static_cast<unsigned char>(text_[at]);
    if (byte < 128) {
      ++at;
      return static_cast<Class>(kAsciiClass[byte]);
    }
    return unicode_class(next_code_point(text_, at));
  }

  void run(std::size_t& at, Class kind) const {
    const std::size_t size = text_.size();
    while (at < size) {
      const auto byte = static_cast<unsigned char>(text_[at]);
      if (byte < 128) {
        if (kAsciiClass[byte] != kind) return;
        ++at;
        continue;
      }
      std::size_t next = at;
      if (unicode_class(next_code_point(text_, next)) != kind) return;
      at = next;
    }
  }

  // \s+(?!\S)|\s+ at a space: all of the run at the text's end, else all but its last character, else that
  // one.
  std::size_t spaces(std::size_t at) const {
    std::size_t end = at;
    std::size_t last = at;
    while (end < text_.size()) {
      std::size_t next = end;
      if (take(next) != kSpace) return last > at ? last : end;
      last = end;
      end = next;
    }
    return end;
  }

  // \s*[\r\n]+ takes the run up to its last line break; without one as above.
  std::size_t spaces_or_lines(std::size_t at) const {
    std::size_t end = at;
    std::size_t last = at;
    std::size_t line = at;
    bool at_end = true;
    while (end < text_.size()) {
      std::size_t next = end;
      if (take(next) != kSpace) {
        at_end = false;
        break;
      }
      if (text_[end] == '\r' || text_[end] == '\n') line = next;
      last = end;
      end = next;
    }
    if (line > at) return line;
    if (at_end) return end;
    return last > at ? last : end;
  }

  // Returns the end of 's, 't, 're, 've, 'm, 'll, 'd at `at`, or `at`.
  std::size_t contraction(std::size_t at, bool any_case) const {
    const auto letter = [&](std::size_t i) -> char {
      if (i >= text_.size()) return 0;
      const char c = text_[i];
      return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    };
    const char first = letter(at + 1);
    switch (first) {
      case 's':
      case 't':
      case 'm':
      case 'd':
        return at + 2;
      case 'r':
      case 'v':
        return letter(at + 2) == 'e' ? at + 3 : at;
      case 'l':
        return letter(at + 2) == 'l' ? at + 3 : at;
      default:
        // U+017F, the long s, is an s to expressions that ignore case.
        if (any_case && text_.substr(at + 1, 2) == "\xC5\xBF") return at + 3;
        return at;
    }
  }

  void emit(std::size_t& at, std::size_t end) {
    out_.push_back({base_ + static_cast<std::uint32_t>(at), base_ + static_cast<std::uint32_t>(end), -1});
    at = end;
  }

  std::string_view text_;
  std::uint32_t base_;
  std::vector<Piece>& out_;
};

}  // namespace

std::optional<ScanPattern> find_scan_pattern(std::string_view regex) {
  struct Known {
    std::string_view regex;
    ScanPattern pattern;
  };
  static constexpr Known kKnown[] = {
      {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", ScanPattern::gpt2},
      {R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", ScanPattern::gpt2},
      {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       ScanPattern::gpt4},
      {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       ScanPattern::qwen2},
  };
  for (const Known& known : kKnown) {
    if (known.regex == regex) return known.pattern;
  }
  return std::nullopt;
}

void scan(ScanPattern pattern, std::string_view text, std::uint32_t base, std::vector<Piece>& out) {
  Scanner scanner(text, base, out);
  switch (pattern) {
    case ScanPattern::gpt2:
      return scanner.gpt2();
    case ScanPattern::gpt4:
      return scanner.gpt4(3);
    case ScanPattern::qwen2:
      return scanner.gpt4(1);
  }
}

}  // namespace mobula::text
