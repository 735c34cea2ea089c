/// The parts of a tokenizer and the way of a text through them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mobula/text/added_tokens.hpp"
#include "mobula/text/decoders/decoder.hpp"
#include "mobula/text/models/model.hpp"
#include "mobula/text/normalizers/normalizer.hpp"
#include "mobula/text/post_processors/post_processor.hpp"
#include "mobula/text/pre_tokenizers/pre_tokenizer.hpp"
#include "mobula/text/tokenizer.hpp"
#include "mobula/text/word_cache.hpp"

namespace mobula::text {

struct Tokenizer::Impl {
  std::string json;  ///< the file's text
  AddedTokens added;
  std::vector<std::unique_ptr<Normalizer>> normalizers;
  std::vector<std::unique_ptr<PreTokenizer>> pre_tokenizers;
  std::unique_ptr<Model> model;
  std::unique_ptr<Decoder> decoder;               ///< null joins tokens with spaces
  std::unique_ptr<PostProcessor> post_processor;  ///< may be null
  std::optional<Truncation> truncation;
  std::optional<Padding> padding;
  mutable WordCachePool caches;
  /// Pieces depend on where their text came from: origins are kept even where no offsets are asked for.
  bool needs_origin = false;

  /// Where the post-processor only puts special tokens around a text: those ids. Else post-processing needs whole encodings.
  bool surrounds = true;
  std::vector<TokenId> prefix;
  std::vector<TokenId> suffix;

  /// Where every id's text is its bytes whatever stands beside it: the bytes of id i are
  /// decoded_bytes[decoded_begin[i], decoded_begin[i + 1]).
  std::string decoded_bytes;
  std::vector<std::uint32_t> decoded_begin;
  std::vector<bool> special_ids;

  /// Appends the ids of a text before post-processing.
  void encode(std::string_view text, std::vector<TokenId>& out) const;
  /// Gives ids and offsets of a text before post-processing.
  Sequence encode_sequence(std::string_view text, std::uint32_t type) const;
  /// Gives ids and offsets of a text or a pair, truncated, post-processed and padded.
  Encoding encode_full(std::string_view text, std::optional<std::string_view> pair, bool add_special_tokens) const;
  /// Returns how many tokens truncation leaves before post-processing; nothing where there is none.
  std::optional<std::size_t> limit(bool pair, bool add_special_tokens) const;

  /// Cuts a text into the pieces that the model sees.
  PieceList pieces(std::string_view text, bool tracked) const;
  /// Rewrites a text as the normalizers say.
  void normalize(AlignedText& text) const;
  /// Makes the tables that decode() uses.
  void prepare_decoding();
  /// Finds out what the post-processor puts around a text.
  void prepare_post_processing();
};

}  // namespace mobula::text
