#include "mobula/text/models/word_piece.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

TokenId unknown(const Vocabulary& vocabulary, const std::string& unk_token) {
  const TokenId id = vocabulary.find(unk_token);
  if (id < 0) throw_invalid(fmt::format("a word is not in the vocabulary, and neither is unk_token '{}'", unk_token));
  return id;
}

}  // namespace

WordPieceModel::WordPieceModel(Vocabulary vocabulary, std::string unk_token, std::string_view prefix,
                               std::size_t max_characters)
    : vocabulary_(std::move(vocabulary)), unk_token_(std::move(unk_token)), max_characters_(max_characters) {
  std::vector<std::pair<std::string_view, TokenId>> tokens;
  tokens.reserve(vocabulary_.size());
  vocabulary_.for_each([&](std::string_view token, TokenId id) { tokens.emplace_back(token, id); });
  trie_ = TokenTrie(std::move(tokens));
  continuation_ = trie_.walk(TokenTrie::root(), prefix);
}

void WordPieceModel::tokenize(std::string_view piece, const TokenSink& out) const {
  const std::size_t before = out.ids.size();
  const std::size_t spans_before = out.spans != nullptr ? out.spans->size() : 0;
  bool known = piece.size() <= max_characters_ || count_code_points(piece) <= max_characters_;
  for (std::size_t at = 0; known && at < piece.size();) {
    std::uint32_t node = at == 0 ? TokenTrie::root() : continuation_;
    std::size_t end = 0;
    TokenId id = -1;
    for (std::size_t i = at; i < piece.size() && node != TokenTrie::kNone;) {
      node = trie_.next(node, piece[i++]);
      if (node == TokenTrie::kNone) break;
      if (trie_.id(node) >= 0) {
        end = i;
        id = trie_.id(node);
      }
    }
    known = id >= 0;
    if (!known) break;
    out.add(id, at, end);
    at = end;
  }
  if (known) return;
  out.ids.resize(before);
  if (out.spans != nullptr) out.spans->resize(spans_before);
  out.add(unknown(vocabulary_, unk_token_), 0, piece.size());
}

void WordLevelModel::tokenize(std::string_view piece, const TokenSink& out) const {
  const TokenId id = vocabulary_.find(piece);
  out.add(id >= 0 ? id : unknown(vocabulary_, unk_token_), 0, piece.size());
}

}  // namespace mobula::text
