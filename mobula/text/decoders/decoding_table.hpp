/// Decoding by looking ids up: the text of every token, as far as it depends on nothing that stands beside it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/text/decoders/decoder.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::text {

/// What a decoder's steps make of every token but the first (which WordPiece and Metaspace treat differently). Immutable
/// and thread-safe once made.
class DecodingTable {
 public:
  /// Returns the spelling of an id, nothing where it has none.
  using Spelling = std::function<std::optional<std::string_view>(TokenId)>;

  /// Makes the table of `num_ids` ids; `decoder` may be null and must outlive the table. Where the decoder's steps look at
  /// neighbours, usable() is false.
  DecodingTable(const Decoder* decoder, std::size_t num_ids, const Spelling& spelling);

  bool usable() const { return !begin_.empty(); }
  /// Tells whether texts are bytes that make UTF-8 only together.
  bool byte_level() const { return byte_level_; }
  /// Returns what an id adds behind other tokens: bytes, of which a character may need several ids'.
  std::string_view bytes(TokenId id) const { return text(static_cast<std::size_t>(id)); }

  /// Decodes ids below num_ids; `skipped` (by id) are left out.
  std::string decode(std::span<const TokenId> ids, const std::vector<bool>* skipped, const Spelling& spelling) const;

 private:
  enum class Kind : std::uint8_t { absent, text, byte };

  std::string_view text(std::size_t id) const {
    return std::string_view(texts_).substr(begin_[id], begin_[id + 1] - begin_[id]);
  }
  std::string first(std::string_view spelling) const;
  Kind put(std::string text);

  bool byte_level_ = false;
  bool spaces_ = false;                 ///< no decoder: tokens are joined with spaces
  bool fallback_ = false;               ///< runs of tokens such as <0x41> are bytes
  std::vector<const Decoder*> before_;  ///< steps that work token by token
  std::vector<const Decoder*> behind_;  ///< steps on the fused text
  std::string texts_;
  std::vector<std::size_t> begin_;
  std::vector<Kind> kinds_;
};

}  // namespace mobula::text
