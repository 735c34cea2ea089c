/// The parts of a tokenizer and the way of a text through them.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "mobula/text/added_tokens.hpp"
#include "mobula/text/decoders/decoder.hpp"
#include "mobula/text/models/model.hpp"
#include "mobula/text/pre_tokenizers/pre_tokenizer.hpp"
#include "mobula/text/tokenizer.hpp"
#include "mobula/text/word_cache.hpp"

namespace mobula::text {

struct Tokenizer::Impl {
  std::string json;  ///< the file's text
  AddedTokens added;
  std::vector<std::unique_ptr<PreTokenizer>> pre_tokenizers;
  std::unique_ptr<Model> model;
  std::unique_ptr<Decoder> decoder;  ///< null joins tokens with spaces
  mutable WordCachePool caches;

  /// Where every id's text is its bytes whatever stands beside it: the bytes of id i are
  /// decoded_bytes[decoded_begin[i], decoded_begin[i + 1]).
  std::string decoded_bytes;
  std::vector<std::uint32_t> decoded_begin;
  std::vector<bool> special_ids;

  /// Appends the ids of a text before post-processing.
  void encode(std::string_view text, std::vector<TokenId>& out) const;
  /// Gives ids and offsets of a text before post-processing.
  Encoding encode_full(std::string_view text, std::uint32_t type) const;

  /// Cuts a text into the pieces that the model sees.
  PieceList pieces(std::string_view text, bool tracked) const;
  /// Makes the tables that decode() uses.
  void prepare_decoding();
};

}  // namespace mobula::text
