/// A text cut into pieces, which pre-tokenizers cut further and models turn into ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "mobula/text/aligned_text.hpp"
#include "mobula/text/tokenizer.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {

/// A range of bytes of PieceList::text. Where `token` isn't negative, it is an added token and stays whole.
struct Piece {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  TokenId token = -1;
};

struct PieceList {
  AlignedText text;
  std::vector<Piece> pieces;
  // What steps write their results to before they take the place of the above: memory that is kept from text to text.
  AlignedText next_text;
  std::vector<Piece> next_pieces;

  /// Returns about how many bytes are held.
  std::size_t memory() const {
    return text.text.capacity() + next_text.text.capacity() +
           (text.origin.capacity() + next_text.origin.capacity()) * sizeof(Span) +
           (pieces.capacity() + next_pieces.capacity()) * sizeof(Piece);
  }

  std::string_view view(const Piece& piece) const {
    return std::string_view(text.text).substr(piece.begin, piece.end - piece.begin);
  }
};

/// What becomes of what a pattern matches (the delimiter), as in tokenizer.json.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// A stretch of a piece (bytes from the piece's begin) that a pattern matched or skipped; stretches cover the
/// piece.
struct Stretch {
  std::uint32_t begin;
  std::uint32_t end;
  bool matched;
};

/// Appends to `out` the pieces that `stretches` of a piece at `base` make.
void append_split(std::vector<Piece>& out, std::uint32_t base, std::vector<Stretch>& stretches, SplitBehavior behavior);

/// Cuts every piece that is no token: `find` appends the stretches of a view. Empty pieces vanish.
template <class Find>
void split_pieces(PieceList& list, SplitBehavior behavior, bool invert, Find&& find) {
  std::vector<Piece>& pieces = list.next_pieces;
  pieces.clear();
  std::vector<Stretch> stretches;
  for (const Piece& piece : list.pieces) {
    if (piece.token >= 0) {
      pieces.push_back(piece);
      continue;
    }
    stretches.clear();
    find(list.view(piece), stretches);
    if (invert) {
      for (Stretch& stretch : stretches) stretch.matched = !stretch.matched;
    }
    append_split(pieces, piece.begin, stretches, behavior);
  }
  list.pieces.swap(pieces);
}

/// Appends the stretches that a predicate on characters makes: every matching character is one of its own.
template <class Predicate>
void find_characters(std::string_view view, std::vector<Stretch>& out, Predicate&& matches) {
  std::size_t done = 0;
  for (std::size_t at = 0; at < view.size();) {
    const std::size_t begin = at;
    if (!matches(next_code_point(view, at))) continue;
    if (done < begin) out.push_back({static_cast<std::uint32_t>(done), static_cast<std::uint32_t>(begin), false});
    out.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(at), true});
    done = at;
  }
  if (done < view.size()) {
    out.push_back({static_cast<std::uint32_t>(done), static_cast<std::uint32_t>(view.size()), false});
  }
}

}  // namespace mobula::text
