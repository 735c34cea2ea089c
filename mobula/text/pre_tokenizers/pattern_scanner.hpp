/// Hand-written scanners for the split patterns of the large byte-level vocabularies.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "mobula/text/pieces.hpp"

namespace mobula::text {

/// Which pattern a scanner follows.
enum class ScanPattern {
  gpt2,   ///< GPT-2 (also the ByteLevel pre-tokenizer's own)
  gpt4,   ///< GPT-4 and Llama 3: numbers of up to three digits
  qwen2,  ///< Qwen 2: numbers of one digit
};

/// Returns the scanner for a regular expression as files spell it, nothing where it is none of the known
/// ones.
std::optional<ScanPattern> find_scan_pattern(std::string_view regex);

/// Appends the matches of the pattern, which cover all of `text`: pieces at `base` + their place.
void scan(ScanPattern pattern, std::string_view text, std::uint32_t base, std::vector<Piece>& out);

}  // namespace mobula::text
