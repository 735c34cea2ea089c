#include "mobula/data/preprocess/words.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <bit>
#include <cstring>

#include "mobula/base/error.hpp"

namespace mobula::data {

struct WordFinder::Pattern {
  pcre2_code* code = nullptr;
  ~Pattern() { pcre2_code_free(code); }
};

WordFinder::WordFinder() : pattern_(std::make_unique<Pattern>()) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pattern_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>("\\b\\w\\w+\\b"), PCRE2_ZERO_TERMINATED,
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &error, &offset, nullptr);
  if (pattern_->code == nullptr) throw_internal("the pattern of words does not compile");
  pcre2_jit_compile(pattern_->code, PCRE2_JIT_COMPLETE);  // without it matching is slower, but the same
}
WordFinder::~WordFinder() = default;

void WordFinder::for_each(std::string_view text, const std::function<void(std::string_view)>& use) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create_from_pattern(pattern_->code, nullptr), &pcre2_match_data_free);
  PCRE2_SIZE at = 0;
  while (at < text.size() && pcre2_match(pattern_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                         PCRE2_NO_UTF_CHECK, match.get(), nullptr) > 0) {
    const PCRE2_SIZE* place = pcre2_get_ovector_pointer(match.get());
    use(text.substr(place[0], place[1] - place[0]));
    at = place[1];
  }
}

std::uint32_t murmur3(std::string_view bytes) {
  constexpr std::uint32_t kFirst = 0xcc9e2d51;
  constexpr std::uint32_t kSecond = 0x1b873593;
  const auto scramble = [](std::uint32_t word) { return std::rotl(word * kFirst, 15) * kSecond; };
  std::uint32_t hash = 0;
  std::size_t at = 0;
  for (; at + 4 <= bytes.size(); at += 4) {
    std::uint32_t word = 0;
    std::memcpy(&word, bytes.data() + at, 4);
    hash = std::rotl(hash ^ scramble(word), 13) * 5 + 0xe6546b64;
  }
  std::uint32_t rest = 0;
  for (std::size_t i = bytes.size(); i > at; --i) rest = rest << 8 | static_cast<unsigned char>(bytes[i - 1]);
  if (at < bytes.size()) hash ^= scramble(rest);
  hash ^= static_cast<std::uint32_t>(bytes.size());
  hash = (hash ^ hash >> 16) * 0x85ebca6b;
  hash = (hash ^ hash >> 13) * 0xc2b2ae35;
  return hash ^ hash >> 16;
}

}  // namespace mobula::data
