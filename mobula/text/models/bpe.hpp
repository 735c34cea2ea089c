/// Byte-pair encoding (Sennrich et al., 2016): the lowest-ranked, leftmost pair is merged first.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mobula/text/models/model.hpp"
#include "mobula/text/vocabulary.hpp"

namespace mobula::text {

struct BpeOptions {
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
};

class BpeModel final : public Model {
 public:
  /// `merges` are pairs of tokens, best first. Throws Error(corrupt) for a merge of or into an unknown token;
  /// `name` leads the message.
  BpeModel(Vocabulary vocabulary, const std::vector<std::pair<std::string_view, std::string_view>>& merges,
           BpeOptions options, std::string_view name);

  /// Makes a model of raw bytes as tiktoken's: any two neighbours whose bytes together are a token can be merged, the lowest
  /// id first. Every byte is a token.
  static std::unique_ptr<BpeModel> from_ranks(const std::vector<std::pair<std::string, TokenId>>& tokens);

  /// Makes the model take raw bytes for pieces: what the ByteLevel pre-tokenizer would spell out is looked up
  /// directly. Returns false (and changes nothing) where the vocabulary or the options don't allow that.
  bool use_raw_bytes();

  /// Tells whether no merge ever reaches over a place where `boundary` follows something else, so that pieces may be cut
  /// there without changing any id: true of vocabularies in which only whole words begin with it.
  bool never_merges_before(std::string_view boundary) const;

  std::string_view kind() const override { return "BPE"; }
  void tokenize(std::string_view piece, const TokenSink& out) const override;
  TokenId find(std::string_view token) const override { return vocabulary_.find(token); }
  std::optional<std::string_view> token(TokenId id) const override { return vocabulary_.token(id); }
  std::size_t size() const override { return vocabulary_.size(); }
  std::size_t num_ids() const override { return vocabulary_.num_ids(); }
  bool cacheable() const override { return num_merges_ > 0; }
  bool one_by_one() const override;

 private:
  BpeModel() = default;
  void add_merge(TokenId left, TokenId right, std::uint32_t rank, TokenId merged);

  struct Symbol {
    TokenId id;
    std::uint32_t length;
  };
  struct Merge {
    std::uint64_t pair = kNoPair;
    std::uint32_t rank = 0;
    TokenId merged = -1;
  };
  static constexpr std::uint64_t kNoPair = ~std::uint64_t{0};
  static constexpr std::uint32_t kNoRank = ~std::uint32_t{0};

  const Merge* find_merge(TokenId left, TokenId right) const;
  void split(std::string_view piece, std::vector<Symbol>& symbols) const;
  void merge_short(std::vector<Symbol>& symbols) const;
  void merge_long(std::vector<Symbol>& symbols) const;

  Vocabulary vocabulary_;
  BpeOptions options_;
  TokenId unk_ = -1;
  std::size_t num_merges_ = 0;
  std::vector<Merge> merges_;  ///< open addressing, a power of two
  bool raw_bytes_ = false;
  std::array<TokenId, 256> byte_ids_{};
  Vocabulary raw_;  ///< tokens as raw bytes, for ignore_merges
};

}  // namespace mobula::text
