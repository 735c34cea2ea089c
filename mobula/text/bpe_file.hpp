/// Writing a BPE tokenizer as tokenizer.json.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mobula::text {

/// What the file of a BPE tokenizer holds; token i has id i.
struct BpeFile {
  std::vector<std::string> tokens;  ///< as they are spelt in the file
  std::vector<std::pair<std::string, std::string>> merges;
  std::vector<std::string> special_tokens;  ///< of `tokens`, in this order
  std::optional<std::string> unk_token;
  bool byte_level = true;  ///< spell bytes; else tokens are characters that are joined as they are
  bool use_regex = true;   ///< split by GPT-2's pattern first (byte-level only)

  std::string to_json() const;
};

}  // namespace mobula::text
