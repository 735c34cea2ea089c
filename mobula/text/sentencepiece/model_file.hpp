/// What a SentencePiece .model file holds (sentencepiece_model.proto), read without protocol buffers' library.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/text/added_tokens.hpp"
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

  /// Returns the pieces that are found in texts before all others: unknown, control and user-defined ones.
  std::vector<AddedToken> added_tokens() const;

  /// Where a text gets a space in front, if the model wants one at all.
  enum class Prefix {
    each_text,  ///< behind added tokens, too: SentencePiece, and transformers' "legacy" Llama
    first,      ///< only where the text begins
    never,
  };
  /// What a checkpoint adds to its model.
  struct Conversion {
    Prefix prefix = Prefix::each_text;
    bool splits_at_white_space = false;  ///< of every kind, also what the normalizer leaves: T5
    std::vector<AddedToken> added_tokens;
    std::string post_processor = "null";  ///< JSON
  };
  /// Returns the tokenizer.json that transformers' conversion would make: equal ids on common text. Where SentencePiece's
  /// own rules have no counterpart there (runs of spaces that are kept, user-defined symbols within words), texts with them
  /// may differ.
  std::string to_json(const Conversion& conversion) const;
};

}  // namespace mobula::text
