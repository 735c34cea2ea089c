/// Finds single bytes in long texts, 64 at a time where the processor has SSE2 (every x86-64 has).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace mobula::data {

/// Returns a bit for each of the 64 bytes at `text` that equals `a` or `b`; the lowest bit is the first byte.
inline std::uint64_t match_either(const char* text, char a, char b) {
#if defined(__SSE2__)
  const __m128i first = _mm_set1_epi8(a);
  const __m128i second = _mm_set1_epi8(b);
  std::uint64_t bits = 0;
  for (int part = 0; part < 4; ++part) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text) + part);
    const __m128i equal = _mm_or_si128(_mm_cmpeq_epi8(bytes, first), _mm_cmpeq_epi8(bytes, second));
    bits |= static_cast<std::uint64_t>(static_cast<std::uint32_t>(_mm_movemask_epi8(equal))) << (16 * part);
  }
  return bits;
#else
  std::uint64_t bits = 0;
  for (int i = 0; i < 64; ++i) bits |= std::uint64_t{text[i] == a || text[i] == b} << i;
  return bits;
#endif
}

/// Returns the first position of `a` or `b` in [begin, end), or `end`.
inline const char* find_either(const char* begin, const char* end, char a, char b) {
  while (end - begin >= 64) {
    if (const std::uint64_t bits = match_either(begin, a, b)) return begin + std::countr_zero(bits);
    begin += 64;
  }
  while (begin < end && *begin != a && *begin != b) ++begin;
  return begin;
}

/// Returns the first position of `byte` in [begin, end), or `end`.
inline const char* find_byte(const char* begin, const char* end, char byte) {
  const void* found = begin < end ? std::memchr(begin, byte, static_cast<std::size_t>(end - begin)) : nullptr;
  return found == nullptr ? end : static_cast<const char*>(found);
}

}  // namespace mobula::data
