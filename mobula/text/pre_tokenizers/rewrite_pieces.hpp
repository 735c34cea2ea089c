/// Rewriting the pieces of a list one by one, with the origin of every byte kept.
#pragma once

#include <string_view>
#include <utility>

#include "mobula/text/pieces.hpp"

namespace mobula::text {

/// Writes the new text of one piece from left to right.
class PieceWriter {
 public:
  PieceWriter(const AlignedText& source, AlignedText& target, const Piece& piece)
      : source_(source), target_(target), at_(piece.begin), begin_(piece.begin), end_(piece.end) {}

  /// Writes bytes before the piece's first character, whose origin they share.
  void prepend(std::string_view bytes) {
    target_.text += bytes;
    if (target_.tracked) target_.origin.insert(target_.origin.end(), bytes.size(), source_.origin[begin_]);
  }
  /// Writes `bytes` for the next `count` bytes of the piece; they get the origin of the last byte replaced.
  void replace(std::size_t count, std::string_view bytes) {
    target_.text += bytes;
    if (target_.tracked) target_.origin.insert(target_.origin.end(), bytes.size(), source_.origin[at_ + count - 1]);
    at_ += count;
  }
  /// Keeps the next `count` bytes.
  void keep(std::size_t count) {
    target_.text.append(source_.text, at_, count);
    if (target_.tracked) {
      const auto from = source_.origin.begin() + static_cast<std::ptrdiff_t>(at_);
      target_.origin.insert(target_.origin.end(), from, from + static_cast<std::ptrdiff_t>(count));
    }
    at_ += count;
  }
  void keep_rest() { keep(end_ - at_); }

 private:
  const AlignedText& source_;
  AlignedText& target_;
  std::size_t at_;
  std::size_t begin_;
  std::size_t end_;
};

/// Calls write(view, piece, writer) for each piece that is no token; the others are copied.
template <class Write>
void rewrite_pieces(PieceList& list, Write&& write) {
  AlignedText& target = list.next_text;
  target.text.clear();
  target.origin.clear();
  target.tracked = list.text.tracked;
  target.continues = list.text.continues;
  target.text.reserve(list.text.text.size() + list.pieces.size() * 2);
  for (Piece& piece : list.pieces) {
    PieceWriter writer(list.text, target, piece);
    const std::size_t begin = target.text.size();
    if (piece.token >= 0) {
      writer.keep_rest();
    } else {
      write(list.view(piece), piece, writer);
    }
    piece.begin = static_cast<std::uint32_t>(begin);
    piece.end = static_cast<std::uint32_t>(target.text.size());
  }
  std::swap(list.text, target);
}

}  // namespace mobula::text
