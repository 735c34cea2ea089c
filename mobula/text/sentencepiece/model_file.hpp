/// What a SentencePiece .model file holds (sentencepiece_model.proto), read without protocol buffers' library.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/text/tokenizer.hpp"

namespace mobula::text {

struct SentencePieceFile {
  enum class PieceType : std::uint8_t { normal = 1, unknown, control, user_defined, unused, byte };
  struct Piece {
    std::string text;
    float score = 0;
    PieceType type = PieceType::normal;
  };
  enum class Algorithm : std::uint8_t { unigram = 1, bpe = 2 };
  struct Rules {
    std::string precompiled_map;  ///< empty for the identity
    bool add_dummy_prefix = true;
    bool remove_extra_whitespaces = true;
    bool escape_whitespaces = true;
  };

  std::vector<Piece> pieces;  ///< by id
  Algorithm algorithm = Algorithm::unigram;
  Rules normalizer;
  Rules denormalizer;
  std::string unk_surface = " \xE2\x81\x87 ";  ///< what the unknown token is decoded to
  bool treat_whitespace_as_suffix = false;
  bool byte_fallback = false;
  TokenId unk = -1;
  TokenId bos = -1;  ///< -1: none
  TokenId eos = -1;
  TokenId pad = -1;

  /// Reads a file's content. Throws Error(corrupt) or Error(unsupported) that leads with `name`.
  static SentencePieceFile parse(std::string_view bytes, std::string_view name);

  /// Returns the tokenizer.json that transformers' conversion would make: equal ids on common text. Where SentencePiece's
  /// own rules have no counterpart there (runs of spaces that are kept, user-defined symbols within words), texts with them
  /// may differ.
  std::string to_json() const;
};

}  // namespace mobula::text
