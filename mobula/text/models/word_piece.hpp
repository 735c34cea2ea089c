/// WordPiece (Schuster & Nakajima, 2012): the longest known prefix, again and again; and whole words.
#pragma once

#include <string>

#include "mobula/text/models/model.hpp"
#include "mobula/text/models/token_trie.hpp"
#include "mobula/text/vocabulary.hpp"

namespace mobula::text {

class WordPieceModel final : public Model {
 public:
  WordPieceModel(Vocabulary vocabulary, std::string unk_token, std::string_view prefix, std::size_t max_characters);

  std::string_view kind() const override { return "WordPiece"; }
  /// A word of too many characters, or with an unknown part, is the unknown token. Throws Error(invalid_argument) where
  /// that isn't in the vocabulary.
  void tokenize(std::string_view piece, const TokenSink& out) const override;
  TokenId find(std::string_view token) const override { return vocabulary_.find(token); }
  std::optional<std::string_view> token(TokenId id) const override { return vocabulary_.token(id); }
  std::size_t size() const override { return vocabulary_.size(); }
  std::size_t num_ids() const override { return vocabulary_.num_ids(); }

 private:
  Vocabulary vocabulary_;
  std::string unk_token_;
  std::size_t max_characters_;
  TokenTrie trie_;
  std::uint32_t continuation_;  ///< the trie's node behind the prefix
};

/// Every piece is a token or unknown.
class WordLevelModel final : public Model {
 public:
  WordLevelModel(Vocabulary vocabulary, std::string unk_token)
      : vocabulary_(std::move(vocabulary)), unk_token_(std::move(unk_token)) {}

  std::string_view kind() const override { return "WordLevel"; }
  void tokenize(std::string_view piece, const TokenSink& out) const override;
  TokenId find(std::string_view token) const override { return vocabulary_.find(token); }
  std::optional<std::string_view> token(TokenId id) const override { return vocabulary_.token(id); }
  std::size_t size() const override { return vocabulary_.size(); }
  std::size_t num_ids() const override { return vocabulary_.num_ids(); }
  bool cacheable() const override { return false; }

 private:
  Vocabulary vocabulary_;
  std::string unk_token_;
};

}  // namespace mobula::text
