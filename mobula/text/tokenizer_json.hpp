/// Writing parts of tokenizer.json. By hand: a Json object looks its keys up one by one, and vocabularies are long.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mobula/text/added_tokens.hpp"

namespace mobula::text {

/// Returns a JSON string.
std::string json_text(std::string_view text);

/// Makes a special token as files hold them: not searched in normalized text.
AddedToken special_token(std::string content, TokenId id);
/// Returns the array "added_tokens", in the order of the ids.
std::string added_tokens_json(std::vector<AddedToken> tokens);

/// Returns the post-processor that puts `before` and `after` around each text (as Llama's, Gemma's and T5's do): tokens and their
/// ids. "null" where there are none.
std::string surrounding_json(const std::vector<std::pair<std::string, TokenId>>& before,
                             const std::vector<std::pair<std::string, TokenId>>& after);

}  // namespace mobula::text
