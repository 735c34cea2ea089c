/// The parts of a tokenizer and the way of a text through them.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "mobula/text/added_tokens.hpp"
#include "mobula/text/decoders/decoder.hpp"
#include "mobula/text/decoders/decoding_table.hpp"
#include "mobula/text/models/model.hpp"
#include "mobula/text/normalizers/normalizer.hpp"
#include "mobula/text/post_processors/post_processor.hpp"
#include "mobula/text/pre_tokenizers/pre_tokenizer.hpp"
#include "mobula/text/tokenizer.hpp"
#include "mobula/text/workspace.hpp"

namespace mobula::text {

struct Tokenizer::Impl {
  std::string json;                      ///< the file's text; empty where it was no tokenizer.json
  std::function<std::string()> convert;  ///< makes one of another file
  AddedTokens added;
  std::vector<std::unique_ptr<Normalizer>> normalizers;
  std::vector<std::unique_ptr<PreTokenizer>> pre_tokenizers;
  std::unique_ptr<Model> model;
  std::unique_ptr<Decoder> decoder;               ///< null joins tokens with spaces
  std::unique_ptr<PostProcessor> post_processor;  ///< may be null
  std::optional<Truncation> truncation;
  std::optional<Padding> padding;
  mutable WorkspacePool workspaces;
  /// Pieces depend on where their text came from: origins are kept even where no offsets are asked for.
  bool needs_origin = false;

  /// Where the post-processor only puts special tokens around a text: those ids. Else post-processing needs whole encodings.
  bool surrounds = true;
  std::vector<TokenId> prefix;
  std::vector<TokenId> suffix;

  std::vector<bool> special_ids;  ///< as long as the vocabulary

  /// Where long texts may be cut into parts.
  enum class Cuts {
    nowhere,
    at_spaces,  ///< before a lone space between two ASCII letters
    anywhere,   ///< between any two characters
  };
  Cuts cuts = Cuts::nowhere;
  /// Long texts are worked through in parts of about so many bytes: what a part needs stays in the processor's cache.
  static constexpr std::size_t kPartBytes = std::size_t{1} << 16;

  /// Appends the ids of a text before post-processing; may stop once `out` holds `enough`.
  void encode(std::string_view text, std::vector<TokenId>& out,
              std::size_t enough = std::numeric_limits<std::size_t>::max()) const;
  /// Appends the ids of a text that is not cut further; `continues` where it stands behind a cut.
  void encode_part(std::string_view text, bool continues, std::vector<TokenId>& out) const;
  /// Returns the first place from `from` on where a text may be cut, npos where there is none. `text` may be the begin of
  /// a longer one.
  std::size_t find_cut(std::string_view text, std::size_t from) const;
  /// Gives ids and offsets of a text before post-processing.
  Sequence encode_sequence(std::string_view text, std::uint32_t type) const;
  /// Gives ids and offsets of a text or a pair, truncated, post-processed and padded.
  Encoding encode_full(std::string_view text, std::optional<std::string_view> pair, bool add_special_tokens) const;
  /// Returns how many tokens truncation leaves before post-processing; nothing where there is none.
  std::optional<std::size_t> limit(bool pair, bool add_special_tokens) const;

  /// Cuts a text into the pieces that the model sees.
  void cut_into_pieces(std::string_view text, bool tracked, bool continues, PieceList& list) const;
  /// Rewrites a text as the normalizers say.
  void normalize(AlignedText& text) const;
  /// Finds out which ids are special, and where texts may be cut.
  void prepare_ids();
  void prepare_cuts();
  /// Returns what decode() looks ids up in; made at the first call. Thread-safe.
  const DecodingTable& decoding() const;
  /// Returns what decoding sees of a token, nothing where the id has none.
  std::optional<std::string_view> spelling(TokenId id) const;
  /// Finds out what the post-processor puts around a text.
  void prepare_post_processing();

 private:
  mutable std::once_flag decoding_once_;
  mutable std::unique_ptr<const DecodingTable> decoding_;
};

}  // namespace mobula::text
