#include "mobula/text/pre_tokenizers/pre_tokenizers.hpp"

#include <array>
#include <cstring>

#include "mobula/text/pre_tokenizers/rewrite_pieces.hpp"
#include "mobula/text/unicode/properties.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

// Calls cut(view, base, out) for each piece that is no token, to append what it becomes.
template <class Cut>
void cut_pieces(PieceList& list, Cut&& cut) {
  std::vector<Piece>& pieces = list.next_pieces;
  pieces.clear();
  for (const Piece& piece : list.pieces) {
    if (piece.token >= 0) {
      pieces.push_back(piece);
    } else {
      cut(list.view(piece), piece.begin, pieces);
    }
  }
  list.pieces.swap(pieces);
}

void put(std::vector<Piece>& out, std::size_t base, std::size_t begin, std::size_t end) {
  if (begin < end)
    out.push_back({static_cast<std::uint32_t>(base + begin), static_cast<std::uint32_t>(base + end), -1});
}

enum Class : std::uint8_t { kOther, kSpace, kWord, kSign };

template <class Classify>
constexpr std::array<std::uint8_t, 128> ascii_table(Classify classify) {
  std::array<std::uint8_t, 128> table{};
  for (int c = 0; c < 128; ++c) table[static_cast<std::size_t>(c)] = classify(c);
  return table;
}

constexpr auto kWordTable = ascii_table([](int c) -> std::uint8_t {
  const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  return word ? kWord : c == ' ' || (c >= 9 && c <= 13) ? kSpace : kOther;
});
constexpr auto kBertTable = ascii_table([](int c) -> std::uint8_t {
  const bool sign = (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
  return sign ? kSign : c == ' ' || (c >= 9 && c <= 13) ? kSpace : kWord;
});

template <class Unicode>
Class classify(std::string_view view, std::size_t& at, const std::array<std::uint8_t, 128>& table, Unicode&& unicode) {
  const auto byte = static_cast<unsigned char>(view[at]);
  if (byte < 128) {
    ++at;
    return static_cast<Class>(table[byte]);
  }
  return unicode(next_code_point(view, at));
}

}  // namespace

void SplitPreTokenizer::apply(PieceList& list) const {
  split_pieces(list, behavior_, invert_,
               [&](std::string_view view, std::vector<Stretch>& out) { regex_.find_all(view, out); });
}

void ScanPreTokenizer::apply(PieceList& list) const {
  cut_pieces(list, [&](std::string_view view, std::uint32_t base, std::vector<Piece>& out) {
    scan(pattern_, view, base, out);
  });
}

void CharacterPreTokenizer::apply(PieceList& list) const {
  const auto find = [&](auto&& matches) {
    split_pieces(list, behavior_, false,
                 [&](std::string_view view, std::vector<Stretch>& out) { find_characters(view, out, matches); });
  };
  switch (kind_) {
    case Kind::white_space:
      return find(is_space);
    case Kind::punctuation:
      return find(is_punctuation);
    case Kind::digits:
      return find(is_numeric);
    case Kind::delimiter:
      return find([&](char32_t c) { return c == delimiter_; });
  }
}

void WhitespacePreTokenizer::apply(PieceList& list) const {
  const auto unicode = [](char32_t c) { return is_rust_word(c) ? kWord : is_space(c) ? kSpace : kOther; };
  cut_pieces(list, [&](std::string_view view, std::uint32_t base, std::vector<Piece>& out) {
    for (std::size_t at = 0; at < view.size();) {
      const std::size_t begin = at;
      const Class kind = classify(view, at, kWordTable, unicode);
      while (at < view.size()) {
        std::size_t next = at;
        if (classify(view, next, kWordTable, unicode) != kind) break;
        at = next;
      }
      if (kind != kSpace) put(out, base, begin, at);
    }
  });
}

void BertPreTokenizer::apply(PieceList& list) const {
  const auto unicode = [](char32_t c) { return is_space(c) ? kSpace : is_punctuation(c) ? kSign : kWord; };
  cut_pieces(list, [&](std::string_view view, std::uint32_t base, std::vector<Piece>& out) {
    std::size_t begin = 0;
    for (std::size_t at = 0; at < view.size();) {
      const std::size_t here = at;
      const Class kind = classify(view, at, kBertTable, unicode);
      if (kind == kWord) continue;
      put(out, base, begin, here);
      if (kind == kSign) put(out, base, here, at);
      begin = at;
    }
    put(out, base, begin, view.size());
  });
}

MetaspacePreTokenizer::MetaspacePreTokenizer(char32_t replacement, Prepend prepend, bool split)
    : prepend_(prepend), split_(split) {
  append_utf8(replacement_, replacement);
}

void MetaspacePreTokenizer::apply(PieceList& list) const {
  const AlignedText& text = list.text;
  const bool tracked = text.tracked;
  rewrite_pieces(list, [&](std::string_view view, const Piece& piece, PieceWriter& writer) {
    if (view.empty()) return;
    const bool starts = view.front() == ' ' || view.starts_with(replacement_);
    const bool goes_on = text.continues && piece.begin == 0;
    const bool first = !text.continues && (tracked ? text.origin[piece.begin].begin == 0 : piece.begin == 0);
    if (!starts && !goes_on && (prepend_ == Prepend::always || (prepend_ == Prepend::first && first)))
      writer.prepend(replacement_);
    for (std::size_t at = 0; at < view.size();) {
      const std::size_t space = std::min(view.find(' ', at), view.size());
      writer.keep(space - at);
      at = space;
      if (at < view.size()) {
        writer.replace(1, replacement_);
        ++at;
      }
    }
  });
  if (!split_) return;
  cut_pieces(list, [&](std::string_view view, std::uint32_t base, std::vector<Piece>& out) {
    std::size_t begin = 0;
    for (std::size_t at = view.find(replacement_, 1); at != std::string_view::npos;
         at = view.find(replacement_, at + 1)) {
      put(out, base, begin, at);
      begin = at;
    }
    put(out, base, begin, view.size());
  });
}

void BoundaryPreTokenizer::apply(PieceList& list) const {
  cut_pieces(list, [&](std::string_view view, std::uint32_t base, std::vector<Piece>& out) {
    std::size_t begin = 0;
    std::size_t behind = 0;  // the end of the last boundary text
    for (std::size_t at = view.find(boundary_); at != std::string_view::npos; at = view.find(boundary_, behind)) {
      if (at != behind || at == 0) {
        put(out, base, begin, at);
        begin = at;
      }
      behind = at + boundary_.size();
    }
    put(out, base, begin, view.size());
  });
}

void UnicodeScriptsPreTokenizer::apply(PieceList& list) const {
  cut_pieces(list, [&](std::string_view view, std::uint32_t base, std::vector<Piece>& out) {
    std::size_t begin = view.size();  // what stands before the first script is dropped, as in the library
    std::uint8_t last = 0;
    for (std::size_t at = 0; at < view.size();) {
      const std::size_t here = at;
      const std::uint8_t current = script(next_code_point(view, at));
      if (current == 0) continue;
      if (last != current) {
        put(out, base, begin, here);
        begin = here;
      }
      last = current;
    }
    put(out, base, begin, view.size());
  });
}

void FixedLengthPreTokenizer::apply(PieceList& list) const {
  cut_pieces(list, [&](std::string_view view, std::uint32_t base, std::vector<Piece>& out) {
    std::size_t begin = 0;
    std::size_t count = 0;
    for (std::size_t at = 0; at < view.size();) {
      at += utf8_length(view[at]);
      if (++count % length_ != 0) continue;
      put(out, base, begin, at);
      begin = at;
    }
    put(out, base, begin, view.size());
  });
}

}  // namespace mobula::text
