#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>

#include "mobula/text/regex/regex.hpp"
#include "mobula/text/unicode/properties.hpp"

namespace mobula::text {
namespace {

using Predicate = bool (*)(char32_t);

// Returns the ranges of the code points for which a predicate holds (or doesn't), as they stand inside [...].
const std::string& ranges(const std::string& key, const std::function<bool(char32_t)>& holds) {
  static std::mutex mutex;
  static std::map<std::string, std::string> known;
  const std::lock_guard lock(mutex);
  auto [entry, fresh] = known.try_emplace(key);
  if (!fresh) return entry->second;
  std::string& out = entry->second;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (!holds(c) || (c >= 0xD800 && c < 0xE000)) continue;
    const char32_t begin = c;
    while (c < 0x10FFFF && c + 1 != 0xD800 && holds(c + 1)) ++c;
    out += fmt::format("\\x{{{:X}}}", static_cast<unsigned>(begin));
    if (c > begin) out += fmt::format("-\\x{{{:X}}}", static_cast<unsigned>(c));
  }
  return out;
}

std::string class_ranges(const std::string& name, bool negated, const std::function<bool(char32_t)>& holds) {
  return ranges(fmt::format("{}{}", negated ? "^" : "", name), [&](char32_t c) { return holds(c) != negated; });
}

// The script Han of Unicode 16, which Oniguruma has (Scripts.txt).
bool is_han(char32_t c) {
  static constexpr char32_t kRanges[][2] = {
      {0x2E80, 0x2E99},   {0x2E9B, 0x2EF3},   {0x2F00, 0x2FD5},   {0x3005, 0x3005},   {0x3007, 0x3007},
      {0x3021, 0x3029},   {0x3038, 0x303B},   {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFA6D},
      {0xFA70, 0xFAD9},   {0x16FE2, 0x16FE3}, {0x16FF0, 0x16FF1}, {0x20000, 0x2A6DF}, {0x2A700, 0x2B739},
      {0x2B740, 0x2B81D}, {0x2B820, 0x2CEA1}, {0x2CEB0, 0x2EBE0}, {0x2EBF0, 0x2EE5D}, {0x2F800, 0x2FA1D},
      {0x30000, 0x3134A}, {0x31350, 0x323AF}};
  return std::any_of(std::begin(kRanges), std::end(kRanges),
                     [c](const auto& range) { return c >= range[0] && c <= range[1]; });
}

// Returns the predicate of a general category or group of them, null where the name is none.
std::function<bool(char32_t)> category_predicate(const std::string& name) {
  static constexpr std::string_view kNames[] = {"Cn", "Cc", "Cf", "Co", "Cs", "Ll", "Lm", "Lo", "Lt", "Lu",
                                                "Mc", "Me", "Mn", "Nd", "Nl", "No", "Pc", "Pd", "Pe", "Pf",
                                                "Pi", "Po", "Ps", "Sc", "Sk", "Sm", "So", "Zl", "Zp", "Zs"};
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] == name) return [i](char32_t c) { return category(c) == static_cast<Category>(i); };
  }
  static const std::map<std::string, char> kGroups = {{"L", 'L'}, {"Letter", 'L'}, {"M", 'M'}, {"Mark", 'M'},
                                                      {"N", 'N'}, {"Number", 'N'}, {"P", 'P'}, {"Punctuation", 'P'},
                                                      {"S", 'S'}, {"Symbol", 'S'}, {"Z", 'Z'}, {"Separator", 'Z'},
                                                      {"C", 'C'}, {"Other", 'C'}};
  const auto group = kGroups.find(name);
  if (group == kGroups.end()) return nullptr;
  const char letter = group->second;
  return [letter](char32_t c) { return kNames[static_cast<std::size_t>(category(c))][0] == letter; };
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  std::string run() {
    while (at_ < in_.size()) {
      const char c = in_[at_];
      if (c == '\\') {
        escape(false);
      } else if (c == '[') {
        out_ += bracket();
      } else if (c == '(' && in_.substr(at_, 2) == "(?" && at_ + 2 < in_.size() && is_option(in_[at_ + 2])) {
        options();
      } else {
        out_ += c;
        ++at_;
      }
    }
    return std::move(out_);
  }

 private:
  static bool is_option(char c) { return c == 'i' || c == 'm' || c == 'x' || c == '-'; }

  // (?m) of Ruby lets the dot match line breaks: PCRE2's s.
  void options() {
    out_ += "(?";
    at_ += 2;
    while (at_ < in_.size() && is_option(in_[at_])) out_ += in_[at_] == 'm' ? 's' : in_[at_], ++at_;
  }

  // Translates an escape, within [...] or not.
  void escape(bool in_class) {
    if (at_ + 1 >= in_.size()) throw std::string("the pattern ends with a backslash");
    const char c = in_[at_ + 1];
    const auto put = [&](const std::string& inside) { out_ += in_class ? inside : fmt::format("[{}]", inside); };
    const auto put_class = [&](const char* name, bool negated, Predicate holds) {
      at_ += 2;
      put(class_ranges(name, negated, holds));
    };
    switch (c) {
      case 's':
        return put_class("\\s", false, is_space);
      case 'S':
        return put_class("\\s", true, is_space);
      // Within [...] Oniguruma takes Latin-1's superscripts and fractions for no word characters, outside it does.
      case 'w':
      case 'W':
        return in_class ? put_class("[\\w]", c == 'W',
                                    [](char32_t k) { return is_word(k) && (k > 0xFF || category(k) != Category::No); })
                        : put_class("\\w", c == 'W', is_word);
      case 'd':
        return put_class("\\d", false, [](char32_t k) { return category(k) == Category::Nd; });
      case 'D':
        return put_class("\\d", true, [](char32_t k) { return category(k) == Category::Nd; });
      case 'h':
        at_ += 2;
        return put("0-9A-Fa-f");
      case 'H':
        at_ += 2;
        return put("\\x{0}-\\x{2F}\\x{3A}-\\x{40}\\x{47}-\\x{60}\\x{67}-\\x{10FFFF}");
      case 'u': {
        if (at_ + 6 > in_.size()) throw std::string("\\u takes four digits");
        out_ += fmt::format("\\x{{{}}}", in_.substr(at_ + 2, 4));
        at_ += 6;
        return;
      }
      case 'p':
      case 'P':
        return property(in_class, c == 'P');
      default:
        out_ += in_.substr(at_, 2);
        at_ += 2;
    }
  }

  void property(bool in_class, bool negated) {
    std::string name;
    if (at_ + 2 < in_.size() && in_[at_ + 2] == '{') {
      const std::size_t end = in_.find('}', at_);
      if (end == std::string_view::npos) throw std::string("\\p{ is not closed");
      name = in_.substr(at_ + 3, end - at_ - 3);
      at_ = end + 1;
    } else {
      if (at_ + 2 < in_.size()) name.push_back(in_[at_ + 2]);
      at_ += 2 + name.size();
    }
    if (name.starts_with('^')) {
      negated = !negated;
      name.erase(0, 1);
    }
    if (const auto holds = category_predicate(name)) {
      const std::string inside = class_ranges(name, negated, holds);
      // Outside of [...], (?i) does not widen a category.
      out_ += in_class ? inside : fmt::format("(?-i:[{}])", inside);
      return;
    }
    if (name == "Han") {
      const std::string inside = class_ranges(name, negated, is_han);
      out_ += in_class ? inside : fmt::format("[{}]", inside);
      return;
    }
    // PCRE2 takes a script's bare name for its extensions, too.
    static constexpr std::string_view kScripts[] = {"Arabic", "Armenian", "Bengali", "Cyrillic", "Devanagari",
                                                    "Greek",  "Hangul",   "Hebrew",  "Hiragana", "Katakana",
                                                    "Khmer",  "Latin",    "Tamil",   "Thai"};
    const bool script = std::find(std::begin(kScripts), std::end(kScripts), name) != std::end(kScripts);
    out_ += fmt::format("\\{}{{{}{}}}", negated ? 'P' : 'p', script ? "sc:" : "", name);
  }

  // Translates [...]; an intersection X&&Y becomes (?:(?=[Y])[X]).
  std::string bracket() {
    if (++depth_ > 20) throw std::string("classes are nested too deeply");
    std::string before = std::move(out_);
    ++at_;
    const bool negated = at_ < in_.size() && in_[at_] == '^';
    at_ += negated;
    std::vector<std::string> parts(1);
    bool first = true;
    for (;; first = false) {
      if (at_ >= in_.size()) throw std::string("a class is not closed");
      if (in_[at_] == ']' && !first) break;
      out_.clear();
      if (in_[at_] == '\\') {
        escape(true);
        parts.back() += out_;
      } else if (in_.substr(at_, 2) == "[:") {
        const std::size_t end = in_.find(":]", at_);
        if (end == std::string_view::npos) throw std::string("[: is not closed");
        parts.back() += in_.substr(at_, end + 2 - at_);
        at_ = end + 2;
      } else if (in_.substr(at_, 2) == "&&") {
        at_ += 2;
        parts.emplace_back();
      } else if (in_[at_] == '[') {
        const std::string inner = bracket();
        // A plain class joins the one around it; behind && it is an operand of its own.
        if (inner.starts_with("[^") || inner.starts_with('(')) {
          if (!parts.back().empty()) throw std::string("a negated class within a class is only possible behind &&");
          parts.back() = inner;
        } else {
          parts.back() += inner.substr(1, inner.size() - 2);
        }
      } else {
        parts.back() += in_[at_] == ']' ? std::string("\\]") : std::string(1, in_[at_]);
        ++at_;
      }
    }
    ++at_;
    --depth_;
    out_ = std::move(before);
    const auto whole = [](const std::string& part) {
      return part.starts_with("[^") || part.starts_with('(') ? part : fmt::format("[{}]", part);
    };
    if (parts.size() == 1) {
      if (parts[0].starts_with("[^") || parts[0].starts_with('(')) {
        return negated ? fmt::format("(?:(?!{})[\\s\\S])", parts[0]) : parts[0];
      }
      return fmt::format("[{}{}]", negated ? "^" : "", parts[0]);
    }
    std::string made = "(?:";
    if (negated) made += "(?!";
    for (std::size_t i = 1; i < parts.size(); ++i) made += fmt::format("(?={})", whole(parts[i]));
    made += whole(parts[0]);
    return made + (negated ? ")[\\s\\S])" : ")");
  }

  std::string_view in_;
  std::size_t at_ = 0;
  std::string out_;
  int depth_ = 0;
};

}  // namespace

std::string translate_pattern(std::string_view pattern) {
  return Translator(pattern).run();
}

}  // namespace mobula::text
