#include "mobula/text/models/unigram.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "mobula/base/error.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {

UnigramModel::UnigramModel(const std::vector<std::pair<std::string_view, double>>& tokens, TokenId unk,
                           bool byte_fallback)
    : unk_(unk), byte_fallback_(byte_fallback) {
  constexpr double kUnknownPenalty = 10.0;
  double lowest = std::numeric_limits<double>::infinity();
  std::vector<std::pair<std::string_view, TokenId>> entries;
  vocabulary_.reserve(tokens.size(), tokens.size() * 8);
  tokens_.reserve(tokens.size());
  for (const auto& [token, score] : tokens) {
    const auto id = static_cast<TokenId>(tokens_.size());
    vocabulary_.add(token, id);
    entries.emplace_back(token, id);
    tokens_.emplace_back(token);
    scores_.push_back(score);
    if (score < lowest) lowest = score;
  }
  trie_ = TokenTrie(std::move(entries));
  unk_score_ = lowest - kUnknownPenalty;
}

std::optional<std::string_view> UnigramModel::token(TokenId id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= tokens_.size()) return std::nullopt;
  return tokens_[static_cast<std::size_t>(id)];
}

void UnigramModel::put(std::string_view text, std::size_t begin, TokenId id, const TokenSink& out) const {
  // What unknown characters make together may still be a token of its own, or bytes.
  if (id == unk_) {
    const TokenId known = vocabulary_.find(text);
    if (known >= 0) {
      id = known;
    } else if (byte_fallback_) {
      std::vector<TokenId> bytes;
      for (const char byte : text) {
        const TokenId found = vocabulary_.find(fmt::format("<0x{:02X}>", static_cast<unsigned char>(byte)));
        if (found < 0) break;
        bytes.push_back(found);
      }
      if (bytes.size() == text.size()) {
        for (const TokenId byte : bytes) out.add(byte, begin, begin + text.size());
        return;
      }
    }
  }
  out.add(id, begin, begin + text.size());
}

void UnigramModel::tokenize(std::string_view piece, const TokenSink& out) const {
  struct Node {
    double score = 0;
    std::uint32_t begin = TokenTrie::kNone;
    TokenId id = 0;
  };
  // The best way to each place, from left to right.
  thread_local std::vector<Node> best;
  best.assign(piece.size() + 1, Node{});
  const auto offer = [&](std::size_t begin, std::size_t end, double score, TokenId id) {
    Node& node = best[end];
    if (node.begin == TokenTrie::kNone || score > node.score) node = {score, static_cast<std::uint32_t>(begin), id};
  };
  for (std::size_t at = 0; at < piece.size();) {
    const double here = best[at].score;
    const std::size_t length = utf8_length(piece[at]);
    bool single = false;
    std::uint32_t node = TokenTrie::root();
    for (std::size_t end = at; end < piece.size();) {
      node = trie_.next(node, piece[end]);
      if (node == TokenTrie::kNone) break;
      ++end;
      const TokenId id = trie_.id(node);
      if (id < 0) continue;
      offer(at, end, scores_[static_cast<std::size_t>(id)] + here, id);
      single = single || end - at == length;
    }
    if (!single) {
      if (unk_ < 0) {
        throw_invalid(fmt::format("'{}' is not in the vocabulary, and the tokenizer has no unknown token",
                                  piece.substr(at, length)));
      }
      offer(at, at + length, unk_score_ + here, unk_);
    }
    at += length;
  }
  std::vector<std::pair<std::uint32_t, std::uint32_t>> path;
  for (std::size_t end = piece.size(); end > 0; end = best[end].begin) {
    path.emplace_back(best[end].begin, static_cast<std::uint32_t>(end));
  }
  std::reverse(path.begin(), path.end());
  for (std::size_t i = 0; i < path.size(); ++i) {
    const std::size_t begin = path[i].first;
    const TokenId id = best[path[i].second].id;
    if (id == unk_) {  // unknown characters in a row are one token
      while (i + 1 < path.size() && best[path[i + 1].second].id == unk_) ++i;
    }
    put(piece.substr(begin, path[i].second - begin), begin, id, out);
  }
  if (best.capacity() > 1 << 16) std::vector<Node>().swap(best);
}

}  // namespace mobula::text
