#include "mobula/text/tokenizer_json.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "mobula/base/json.hpp"

namespace mobula::text {

std::string json_text(std::string_view text) {
  return to_line(Json(text));
}

AddedToken special_token(std::string content, TokenId id) {
  AddedToken token;
  token.id = id;
  token.content = std::move(content);
  token.normalized = false;
  token.special = true;
  return token;
}

std::string added_tokens_json(std::vector<AddedToken> tokens) {
  std::ranges::stable_sort(tokens, {}, &AddedToken::id);
  std::string out;
  for (const AddedToken& token : tokens) {
    out += fmt::format(
        R"({}{{"id": {}, "content": {}, "single_word": {}, "lstrip": {}, "rstrip": {}, "normalized": {}, "special": {}}})",
        out.empty() ? "" : ",\n    ", token.id, json_text(token.content), token.single_word, token.lstrip, token.rstrip,
        token.normalized, token.special);
  }
  return fmt::format("[{}]", out);
}

std::string surrounding_json(const std::vector<std::pair<std::string, TokenId>>& before,
                             const std::vector<std::pair<std::string, TokenId>>& after) {
  if (before.empty() && after.empty()) return "null";
  const auto around = [&](const char* sequence, int type) {
    Json steps = Json::array();
    for (const auto& token : before) steps.push_back({{"SpecialToken", {{"id", token.first}, {"type_id", type}}}});
    steps.push_back({{"Sequence", {{"id", sequence}, {"type_id", type}}}});
    for (const auto& token : after) steps.push_back({{"SpecialToken", {{"id", token.first}, {"type_id", type}}}});
    return steps;
  };
  const Json single = around("A", 0);
  Json pair = single;
  for (Json& step : around("B", 1)) pair.push_back(std::move(step));
  Json tokens = Json::object();
  for (const auto* list : {&before, &after}) {
    for (const auto& [content, id] : *list) {
      tokens[content] = {{"id", content}, {"ids", Json::array({id})}, {"tokens", Json::array({content})}};
    }
  }
  return to_line({{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", tokens}});
}

}  // namespace mobula::text
