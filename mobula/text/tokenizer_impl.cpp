#include "mobula/text/tokenizer_impl.hpp"

#include <fmt/format.h>

#include <limits>

#include "mobula/base/error.hpp"
#include "mobula/text/byte_alphabet.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

AlignedText aligned(std::string_view text, bool tracked) {
  if (text.size() > std::numeric_limits<std::uint32_t>::max() / 4) {
    throw Error(ErrorCode::resource,
                fmt::format("a text of {} bytes is too long to encode in one piece", text.size()),
                "split it into lines or documents below 1 GB");
  }
  AlignedText result;
  result.tracked = tracked;
  const bool valid = is_valid_utf8(text);
  if (valid) {
    result.text = text;
  } else {
    std::vector<std::pair<std::size_t, std::size_t>> origin;
    append_repaired_utf8(result.text, text, tracked ? &origin : nullptr);
    for (const auto& [begin, end] : origin) {
      result.origin.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
    }
  }
  if (tracked && valid) {
    result.origin.reserve(text.size());
    for (std::uint32_t at = 0; at < text.size();) {
      const auto end = at + static_cast<std::uint32_t>(utf8_length(text[at]));
      result.origin.insert(result.origin.end(), end - at, Span{at, end});
      at = end;
    }
  }
  return result;
}

}  // namespace

PieceList Tokenizer::Impl::pieces(std::string_view text, bool tracked) const {
  PieceList list;
  list.text = aligned(text, tracked);
  std::vector<AddedTokens::Stretch> stretches;
  if (added.has(false)) {
    added.split(list.text.text, false, stretches);
  } else if (!list.text.text.empty()) {
    stretches.push_back({0, list.text.text.size(), -1});
  }
  for (const auto& stretch : stretches) {
    list.pieces.push_back(
        {static_cast<std::uint32_t>(stretch.begin), static_cast<std::uint32_t>(stretch.end), stretch.id});
  }
  if (added.has(true)) {
    std::vector<Piece> cut;
    for (const Piece& piece : list.pieces) {
      if (piece.token >= 0) {
        cut.push_back(piece);
        continue;
      }
      stretches.clear();
      added.split(list.view(piece), true, stretches);
      for (const auto& stretch : stretches) {
        cut.push_back({piece.begin + static_cast<std::uint32_t>(stretch.begin),
                       piece.begin + static_cast<std::uint32_t>(stretch.end), stretch.id});
      }
    }
    list.pieces = std::move(cut);
  }
  for (const auto& step : pre_tokenizers) step->apply(list);
  return list;
}

void Tokenizer::Impl::encode(std::string_view text, std::vector<TokenId>& out) const {
  const PieceList list = pieces(text, false);
  out.reserve(out.size() + list.text.text.size() / 3 + 4);
  const TokenSink sink{out};
  if (!model->cacheable()) {
    for (const Piece& piece : list.pieces) {
      if (piece.token >= 0) {
        out.push_back(piece.token);
      } else {
        model->tokenize(list.view(piece), sink);
      }
    }
    return;
  }
  WordCachePool::Loan cache(caches);
  for (const Piece& piece : list.pieces) {
    const std::string_view view = list.view(piece);
    if (piece.token >= 0) {
      out.push_back(piece.token);
    } else if (view.size() > WordCache::kMaxBytes) {
      model->tokenize(view, sink);
    } else {
      const WordCache::Key key = WordCache::key(view, list.text.text.size() - piece.begin);
      if (cache->find(key, out)) continue;
      const std::size_t before = out.size();
      model->tokenize(view, sink);
      cache->insert(key, out.data() + before, out.size() - before);
    }
  }
}

Encoding Tokenizer::Impl::encode_full(std::string_view text, std::uint32_t type) const {
  const PieceList list = pieces(text, true);
  Encoding result;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> spans;
  const TokenSink sink{result.ids, &spans};
  for (const Piece& piece : list.pieces) {
    const std::string_view view = list.view(piece);
    spans.clear();
    if (piece.token >= 0) {
      sink.add(piece.token, 0, view.size());
    } else {
      model->tokenize(view, sink);
    }
    for (const auto& [begin, end] : spans) {
      // An empty token (of an empty stretch) keeps its place.
      const std::uint32_t first = piece.begin + begin;
      const std::uint32_t last = piece.begin + end;
      if (first == last) {
        result.offsets.emplace_back(first, last);
      } else {
        result.offsets.emplace_back(list.text.origin[first].begin, list.text.origin[last - 1].end);
      }
    }
  }
  result.type_ids.assign(result.ids.size(), type);
  result.special_mask.assign(result.ids.size(), 0);
  result.attention_mask.assign(result.ids.size(), 1);
  return result;
}

void Tokenizer::Impl::prepare_decoding() {
  std::size_t count = model->num_ids();
  if (!added.all().empty())
    count = std::max(count, static_cast<std::size_t>(added.all().rbegin()->first) + 1);
  special_ids.assign(count, false);
  const bool by_id = decoder != nullptr && decoder->is_byte_level();
  if (by_id) decoded_begin.reserve(count + 1);
  for (std::size_t i = 0; i < count; ++i) {
    const auto id = static_cast<TokenId>(i);
    const AddedToken* token = added.find(id);
    const auto text = token != nullptr ? std::optional(added.decoded(*token)) : model->token(id);
    if (text && added.is_special(*text)) special_ids[i] = true;
    if (!by_id) continue;
    decoded_begin.push_back(static_cast<std::uint32_t>(decoded_bytes.size()));
    if (text && !append_bytes_of(decoded_bytes, *text)) decoded_bytes += *text;
  }
  if (by_id) decoded_begin.push_back(static_cast<std::uint32_t>(decoded_bytes.size()));
}

}  // namespace mobula::text
