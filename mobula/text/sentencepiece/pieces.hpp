/// The steps of SentencePiece (Kudo & Richardson, 2018) as its own library takes them: rules on the text, the two models,
/// decoding. Ids equal those of the sentencepiece package.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/text/decoders/decoder.hpp"
#include "mobula/text/models/model.hpp"
#include "mobula/text/models/token_trie.hpp"
#include "mobula/text/normalizers/normalizer.hpp"
#include "mobula/text/sentencepiece/model_file.hpp"
#include "mobula/text/vocabulary.hpp"

namespace mobula::text {

/// The vocabulary and what both models share. Immutable and thread-safe.
class SentencePieceVocabulary {
 public:
  explicit SentencePieceVocabulary(const SentencePieceFile& file);

  /// Returns the length of the longest user-defined symbol that `text` begins with, 0 where there is none.
  std::size_t user_defined_prefix(std::string_view text) const;
  /// Returns the id of a normal, user-defined or unused piece, -1 where there is none.
  TokenId find_piece(std::string_view text) const { return pieces_.find(text); }
  /// Returns the id of any piece, -1 where there is none.
  TokenId find(std::string_view text) const;
  std::optional<std::string_view> token(TokenId id) const { return all_.token(id); }
  std::size_t size() const { return scores_.size(); }
  float score(TokenId id) const { return scores_[static_cast<std::size_t>(id)]; }
  SentencePieceFile::PieceType type(TokenId id) const { return types_[static_cast<std::size_t>(id)]; }
  TokenId unk() const { return unk_; }
  /// Returns the pieces that a trie for segmentation holds.
  std::vector<std::pair<std::string_view, TokenId>> segments() const;

  /// Appends pieces of a text: unknown ones become bytes, or one unknown token a run.
  class Output {
   public:
    Output(const SentencePieceVocabulary& vocabulary, std::string_view text, const TokenSink& sink)
        : vocabulary_(vocabulary), text_(text), sink_(sink) {}
    void add(std::size_t begin, std::size_t end, TokenId id);

   private:
    const SentencePieceVocabulary& vocabulary_;
    std::string_view text_;
    const TokenSink& sink_;
    bool unknown_before_ = false;
  };

 private:
  Vocabulary all_;
  Vocabulary pieces_;
  std::vector<float> scores_;
  std::vector<SentencePieceFile::PieceType> types_;
  TokenTrie user_defined_;
  bool has_user_defined_ = false;
  bool byte_fallback_ = false;
  std::array<TokenId, 256> bytes_{};
  TokenId unk_ = -1;
};

/// Rules on the text: the precompiled map's longest matches, spaces removed and made visible, the dummy prefix.
class SentencePieceNormalizer final : public Normalizer {
 public:
  /// `vocabulary` may be null (decoding); its user-defined symbols are left as they are. Throws std::string with what is
  /// wrong about the map.
  SentencePieceNormalizer(const SentencePieceFile::Rules& rules, bool whitespace_as_suffix,
                          std::shared_ptr<const SentencePieceVocabulary> vocabulary);
  void normalize(AlignedText& text) const override;
  bool at_cut(CutPlace& place) const override;

 private:
  std::size_t take(std::string_view text, std::string_view& replacement) const;

  SentencePieceFile::Rules rules_;
  bool whitespace_as_suffix_;
  std::optional<PrecompiledNormalizer> map_;
  std::shared_ptr<const SentencePieceVocabulary> vocabulary_;
};

/// A model on such a vocabulary.
class SentencePieceModel : public Model {
 public:
  explicit SentencePieceModel(std::shared_ptr<const SentencePieceVocabulary> vocabulary)
      : vocabulary_(std::move(vocabulary)) {}
  TokenId find(std::string_view token) const override { return vocabulary_->find(token); }
  std::optional<std::string_view> token(TokenId id) const override { return vocabulary_->token(id); }
  std::size_t size() const override { return vocabulary_->size(); }
  std::size_t num_ids() const override { return vocabulary_->size(); }
  bool cacheable() const override { return false; }

 protected:
  std::shared_ptr<const SentencePieceVocabulary> vocabulary_;
};

/// The best segmentation, with scores added up in single precision as the library does.
class SentencePieceUnigram final : public SentencePieceModel {
 public:
  explicit SentencePieceUnigram(std::shared_ptr<const SentencePieceVocabulary> vocabulary);
  std::string_view kind() const override { return "SentencePiece Unigram"; }
  void tokenize(std::string_view piece, const TokenSink& out) const override;

 private:
  TokenTrie trie_;
  float lowest_ = 0;
  float highest_ = 0;
};

/// Merges of neighbours whose union is a piece, best score first, then leftmost.
class SentencePieceBpe final : public SentencePieceModel {
 public:
  /// `words` tells that pieces are words, worth remembering.
  SentencePieceBpe(std::shared_ptr<const SentencePieceVocabulary> vocabulary, bool words)
      : SentencePieceModel(std::move(vocabulary)), words_(words) {}
  std::string_view kind() const override { return "SentencePiece BPE"; }
  void tokenize(std::string_view piece, const TokenSink& out) const override;
  bool cacheable() const override { return words_; }

 private:
  bool words_;
};

/// Pieces back to text.
class SentencePieceDecoder final : public Decoder {
 public:
  SentencePieceDecoder(const SentencePieceFile& file, std::shared_ptr<const SentencePieceVocabulary> vocabulary);
  void apply(std::vector<std::string>& tokens) const override;

 private:
  std::shared_ptr<const SentencePieceVocabulary> vocabulary_;
  SentencePieceFile::Rules rules_;
  std::string unk_surface_;
  std::optional<SentencePieceNormalizer> denormalizer_;
};

}  // namespace mobula::text
