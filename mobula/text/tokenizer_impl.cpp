#include "mobula/text/tokenizer_impl.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "mobula/base/error.hpp"
#include "mobula/text/pre_tokenizers/byte_level.hpp"
#include "mobula/text/unicode/properties.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

void align(std::string_view text, bool tracked, AlignedText& result) {
  if (text.size() > std::numeric_limits<std::uint32_t>::max() / 4) {
    throw Error(
        ErrorCode::resource,
        fmt::format("a text of {} bytes without a place to cut it is too long to encode in one piece", text.size()),
        "split it into lines or documents below 1 GB");
  }
  result.text.clear();
  result.origin.clear();
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
}

bool is_ascii_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Counts the white space (or its byte-level spelling) at both ends of a token.
std::pair<std::uint32_t, std::uint32_t> count_spaces(std::string_view token) {
  constexpr char32_t kByteLevelSpace = 0x120;
  std::pair<std::uint32_t, std::uint32_t> count{0, 0};
  for (std::size_t at = 0; at < token.size(); ++count.first) {
    const char32_t c = next_code_point(token, at);
    if (c != kByteLevelSpace && !is_space(c)) break;
  }
  for (std::size_t end = token.size(); end > 0; ++count.second) {
    const char32_t c = previous_code_point(token, end);
    if (c != kByteLevelSpace && !is_space(c)) break;
  }
  return count;
}

}  // namespace

void Tokenizer::Impl::normalize(AlignedText& text) const {
  for (const auto& step : normalizers) step->normalize(text);
}

void Tokenizer::Impl::cut_into_pieces(std::string_view text, bool tracked, bool continues, PieceList& list) const {
  list.pieces.clear();
  align(text, tracked || needs_origin, list.text);
  list.text.continues = continues;
  std::vector<AddedTokens::Stretch> stretches;
  if (added.has(false)) {
    added.split(list.text.text, false, stretches);
  } else if (!list.text.text.empty()) {
    stretches.push_back({0, list.text.text.size(), -1});
  }
  const auto put = [&list](std::size_t begin, std::size_t end, TokenId token) {
    list.pieces.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end), token});
  };
  if (stretches.size() == 1 && stretches[0].id < 0) {
    normalize(list.text);
    put(0, list.text.text.size(), -1);
  } else if (normalizers.empty()) {
    for (const auto& stretch : stretches) put(stretch.begin, stretch.end, stretch.id);
  } else {
    // Each stretch between added tokens is normalized by itself.
    AlignedText whole;
    whole.tracked = list.text.tracked;
    whole.continues = continues;
    for (const auto& stretch : stretches) {
      AlignedText part;
      part.tracked = whole.tracked;
      part.continues = continues && stretch.begin == 0;
      part.text = list.text.text.substr(stretch.begin, stretch.end - stretch.begin);
      if (part.tracked) {
        const auto origin = list.text.origin.begin();
        part.origin.assign(origin + static_cast<std::ptrdiff_t>(stretch.begin),
                           origin + static_cast<std::ptrdiff_t>(stretch.end));
      }
      if (stretch.id < 0) normalize(part);
      put(whole.text.size(), whole.text.size() + part.text.size(), stretch.id);
      whole.text += part.text;
      whole.origin.insert(whole.origin.end(), part.origin.begin(), part.origin.end());
    }
    list.text = std::move(whole);
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
  std::erase_if(list.pieces, [](const Piece& piece) { return piece.begin == piece.end; });
  for (const auto& step : pre_tokenizers) step->apply(list);
}

std::size_t Tokenizer::Impl::find_cut(std::string_view text, std::size_t from) const {
  if (cuts == Cuts::nowhere) return std::string_view::npos;
  // No added token may reach over the place or touch it.
  const std::size_t margin = added.longest() + 2;
  const auto is_free = [&](std::size_t at) {
    const std::size_t begin = at - std::min(at, margin);
    const std::string_view around = text.substr(begin, at + margin - begin);
    if (added.has(false) && added.occurs(around, false)) return false;
    if (!added.has(true)) return true;
    if (normalizers.empty()) return !added.occurs(around, true);
    AlignedText normalized;
    normalized.text = around;
    normalized.continues = true;
    for (const char c : around) {
      if (c < ' ' || c > '~') return false;
    }
    normalize(normalized);
    return normalized.text.size() >= around.size() && !added.occurs(normalized.text, true);
  };
  from = std::max(from, std::size_t{1});
  if (cuts == Cuts::anywhere) {
    while (from + margin < text.size() && (is_utf8_continuation(text[from]) || !is_free(from))) ++from;
    return from + margin < text.size() ? from : std::string_view::npos;
  }
  for (std::size_t at = text.find(' ', from); at != std::string_view::npos && at + margin < text.size();
       at = text.find(' ', at + 1)) {
    if (is_ascii_letter(text[at - 1]) && is_ascii_letter(text[at + 1]) && is_free(at)) return at;
  }
  return std::string_view::npos;
}

void Tokenizer::Impl::encode(std::string_view text, std::vector<TokenId>& out, std::size_t enough) const {
  out.reserve(out.size() + std::min(text.size() / 3 + 4, enough));
  bool continues = false;
  while (text.size() > 2 * kPartBytes && out.size() < enough) {
    const std::size_t cut = find_cut(text, kPartBytes);
    if (cut == std::string_view::npos) break;
    encode_part(text.substr(0, cut), continues, out);
    text.remove_prefix(cut);
    continues = true;
  }
  if (out.size() < enough) encode_part(text, continues, out);
}

void Tokenizer::Impl::encode_part(std::string_view text, bool continues, std::vector<TokenId>& out) const {
  WorkspacePool::Loan workspace(workspaces);
  PieceList& list = workspace->pieces;
  cut_into_pieces(text, false, continues, list);
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
  WordCache& cache = workspace->words;
  for (const Piece& piece : list.pieces) {
    const std::string_view view = list.view(piece);
    if (piece.token >= 0) {
      out.push_back(piece.token);
    } else if (view.empty()) {
      continue;
    } else if (view.size() > WordCache::kMaxBytes) {
      model->tokenize(view, sink);
    } else {
      const WordCache::Key key = WordCache::key(view, list.text.text.size() - piece.begin);
      if (cache.find(key, out)) continue;
      const std::size_t before = out.size();
      model->tokenize(view, sink);
      cache.insert(key, out.data() + before, out.size() - before);
    }
  }
}

std::optional<std::size_t> Tokenizer::Impl::limit(bool pair, bool add_special_tokens) const {
  if (!truncation) return std::nullopt;
  const std::size_t more = add_special_tokens && post_processor != nullptr ? post_processor->num_added(pair) : 0;
  if (more > truncation->max_length) {
    throw_invalid(
        fmt::format("truncation.max_length is {}, but {} special tokens are added", truncation->max_length, more));
  }
  return truncation->max_length - more;
}

Sequence Tokenizer::Impl::encode_sequence(std::string_view text, std::uint32_t type) const {
  PieceList list;
  cut_into_pieces(text, true, false, list);
  Sequence result;
  result.text = text;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> spans;
  const TokenSink sink{result.encoding.ids, &spans};
  for (const Piece& piece : list.pieces) {
    const std::string_view view = list.view(piece);
    spans.clear();
    const std::size_t before = result.size();
    if (piece.token >= 0) {
      sink.add(piece.token, 0, view.size());
    } else {
      model->tokenize(view, sink);
    }
    for (std::size_t t = 0; t < spans.size(); ++t) {
      const std::uint32_t first = piece.begin + spans[t].first;
      const std::uint32_t last = piece.begin + spans[t].second;
      result.encoding.offsets.emplace_back(list.text.origin[first].begin, list.text.origin[last - 1].end);
      const auto token = model->token(result.encoding.ids[before + t]);
      result.spaces.push_back(count_spaces(piece.token >= 0 || !token ? view : *token));
    }
  }
  result.encoding.type_ids.assign(result.size(), type);
  result.encoding.special_mask.assign(result.size(), 0);
  result.encoding.attention_mask.assign(result.size(), 1);
  return result;
}

Encoding Tokenizer::Impl::encode_full(std::string_view text, std::optional<std::string_view> pair,
                                      bool add_special_tokens) const {
  std::vector<Sequence> sequences;
  sequences.push_back(encode_sequence(text, 0));
  if (pair) sequences.push_back(encode_sequence(*pair, 1));
  if (const auto most = limit(pair.has_value(), add_special_tokens)) truncation->apply(sequences, *most);
  if (post_processor != nullptr) post_processor->apply(sequences, add_special_tokens);
  Sequence whole;
  for (const Sequence& each : sequences) whole.append(each);
  if (padding) padding->apply(whole.encoding);
  return std::move(whole.encoding);
}

void Tokenizer::Impl::prepare_post_processing() {
  if (post_processor == nullptr) return;
  constexpr TokenId kText = -1;
  std::vector<Sequence> sequences(1);
  sequences[0].add_special(kText, 0);
  post_processor->apply(sequences, true);
  std::size_t texts = 0;
  for (const Sequence& sequence : sequences) {
    for (const TokenId id : sequence.encoding.ids) {
      if (id == kText) {
        ++texts;
      } else {
        (texts == 0 ? prefix : suffix).push_back(id);
      }
    }
  }
  surrounds = texts == 1;
}

void Tokenizer::Impl::prepare_ids() {
  std::size_t count = model->num_ids();
  if (!added.all().empty()) count = std::max(count, static_cast<std::size_t>(added.all().rbegin()->first) + 1);
  special_ids.assign(count, false);
  // A token is special where its text is that of a special token, also where several are spelt alike.
  std::array<bool, 256> first{};
  for (const auto& entry : added.all()) {
    const AddedToken& token = entry.second;
    if (added.is_special(added.decoded(token))) special_ids[static_cast<std::size_t>(token.id)] = true;
    if (token.special) first[static_cast<unsigned char>(token.content[0])] = true;
  }
  for (std::size_t i = 0; i < model->num_ids(); ++i) {
    const auto text = model->token(static_cast<TokenId>(i));
    if (!text || text->empty() || !first[static_cast<unsigned char>(text->front())]) continue;
    if (added.is_special(*text) && added.find(static_cast<TokenId>(i)) == nullptr) special_ids[i] = true;
  }
}

void Tokenizer::Impl::prepare_cuts() {
  for (const auto& entry : added.all()) {
    // Invalid UTF-8 becomes this character before added tokens are looked for, but behind where cuts are.
    if (entry.second.content.find("\xEF\xBF\xBD") != std::string::npos) return;
  }
  const bool spells = std::all_of(pre_tokenizers.begin(), pre_tokenizers.end(), [](const auto& step) {
    const auto* bytes = dynamic_cast<const ByteLevelPreTokenizer*>(step.get());
    return bytes != nullptr && bytes->only_spells();
  });
  const bool reach = std::any_of(added.all().begin(), added.all().end(), [](const auto& entry) {
    return entry.second.lstrip || entry.second.rstrip || entry.second.single_word;
  });
  if (normalizers.empty() && spells && !reach && model->one_by_one()) {
    cuts = Cuts::anywhere;
    return;
  }
  CutPlace place;
  for (const auto& step : normalizers) {
    if (!step->at_cut(place)) return;
  }
  bool separates = false;
  for (const auto& step : pre_tokenizers) {
    const CutEffect effect = step->at_cut(place);
    if (effect == CutEffect::changes) return;
    separates = separates || effect == CutEffect::separates;
  }
  if (separates) cuts = Cuts::at_spaces;
}

std::optional<std::string_view> Tokenizer::Impl::spelling(TokenId id) const {
  const AddedToken* token = added.find(id);
  return token != nullptr ? std::optional(added.decoded(*token)) : model->token(id);
}

const DecodingTable& Tokenizer::Impl::decoding() const {
  std::call_once(decoding_once_, [this] {
    decoding_ = std::make_unique<const DecodingTable>(decoder.get(), special_ids.size(),
                                                      [this](TokenId id) { return spelling(id); });
  });
  return *decoding_;
}

}  // namespace mobula::text
