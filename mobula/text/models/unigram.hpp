/// The unigram language model (Kudo, 2018): the segmentation of the highest score.
#pragma once

#include <string>
#include <vector>

#include "mobula/text/models/model.hpp"
#include "mobula/text/models/token_trie.hpp"
#include "mobula/text/vocabulary.hpp"

namespace mobula::text {

class UnigramModel final : public Model {
 public:
  /// Token i has the score scores[i]; `unk` is -1 where there is no unknown token.
  UnigramModel(const std::vector<std::pair<std::string_view, double>>& tokens, TokenId unk, bool byte_fallback);

  std::string_view kind() const override { return "Unigram"; }
  /// Throws Error(invalid_argument) for a character outside the vocabulary where there is no unknown token.
  void tokenize(std::string_view piece, const TokenSink& out) const override;
  TokenId find(std::string_view token) const override { return vocabulary_.find(token); }
  std::optional<std::string_view> token(TokenId id) const override;
  std::size_t size() const override { return scores_.size(); }
  std::size_t num_ids() const override { return scores_.size(); }

 private:
  void put(std::string_view text, std::size_t begin, TokenId id, const TokenSink& out) const;

  Vocabulary vocabulary_;
  std::vector<std::string> tokens_;  ///< by id: several may be spelt alike
  std::vector<double> scores_;
  TokenTrie trie_;
  double unk_score_ = 0;
  TokenId unk_;
  bool byte_fallback_;
};

}  // namespace mobula::text
