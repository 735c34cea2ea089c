#include "mobula/text/pre_tokenizers/byte_level.hpp"

#include "mobula/text/byte_alphabet.hpp"
#include "mobula/text/pre_tokenizers/pattern_scanner.hpp"
#include "mobula/text/pre_tokenizers/rewrite_pieces.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {

void ByteLevelPreTokenizer::apply(PieceList& list) const {
  if (add_prefix_space_) {
    const bool continues = list.text.continues;
    rewrite_pieces(list, [continues](std::string_view view, const Piece& piece, PieceWriter& writer) {
      const bool goes_on = continues && piece.begin == 0;
      if (!view.empty() && view.front() != ' ' && !goes_on) writer.prepend(" ");
      writer.keep_rest();
    });
  }
  if (use_regex_) {
    std::vector<Piece>& pieces = list.next_pieces;
    pieces.clear();
    for (const Piece& piece : list.pieces) {
      if (piece.token >= 0) {
        pieces.push_back(piece);
      } else {
        scan(ScanPattern::gpt2, list.view(piece), piece.begin, pieces);
      }
    }
    list.pieces.swap(pieces);
  }
  if (raw_bytes_) return;
  rewrite_pieces(list, [](std::string_view view, const Piece&, PieceWriter& writer) {
    std::string spelling;
    for (std::size_t at = 0; at < view.size(); ++at) {
      spelling.clear();
      append_utf8(spelling, byte_to_character(static_cast<std::uint8_t>(view[at])));
      writer.replace(1, spelling);
    }
  });
}

}  // namespace mobula::text
