#include "mobula/text/sentencepiece/pieces.hpp"

#include <algorithm>
#include <limits>
#include <queue>
#include <unordered_map>

#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

using Type = SentencePieceFile::PieceType;

constexpr std::string_view kVisibleSpace = "\xE2\x96\x81";

}  // namespace

SentencePieceVocabulary::SentencePieceVocabulary(const SentencePieceFile& file)
    : byte_fallback_(file.byte_fallback), unk_(file.unk) {
  all_.reserve(file.pieces.size(), file.pieces.size() * 8);
  std::vector<std::pair<std::string_view, TokenId>> user_defined;
  for (std::size_t i = 0; i < file.pieces.size(); ++i) {
    const auto& piece = file.pieces[i];
    const auto id = static_cast<TokenId>(i);
    all_.add(piece.text, id);
    scores_.push_back(piece.score);
    types_.push_back(piece.type);
    if (piece.type == Type::normal || piece.type == Type::user_defined || piece.type == Type::unused) {
      pieces_.add(piece.text, id);
    }
    if (piece.type == Type::user_defined) user_defined.emplace_back(piece.text, id);
    if (piece.type == Type::byte) bytes_[static_cast<std::size_t>(ByteFallbackDecoder::named_byte(piece.text))] = id;
  }
  has_user_defined_ = !user_defined.empty();
  if (has_user_defined_) user_defined_ = TokenTrie(std::move(user_defined));
}

std::size_t SentencePieceVocabulary::user_defined_prefix(std::string_view text) const {
  if (!has_user_defined_) return 0;
  std::size_t longest = 0;
  std::uint32_t node = TokenTrie::root();
  for (std::size_t at = 0; at < text.size();) {
    node = user_defined_.next(node, text[at++]);
    if (node == TokenTrie::kNone) break;
    if (user_defined_.id(node) >= 0) longest = at;
  }
  return longest;
}

TokenId SentencePieceVocabulary::find(std::string_view text) const {
  return all_.find(text);
}

std::vector<std::pair<std::string_view, TokenId>> SentencePieceVocabulary::segments() const {
  std::vector<std::pair<std::string_view, TokenId>> tokens;
  tokens.reserve(pieces_.size());
  pieces_.for_each([&](std::string_view token, TokenId id) {
    if (types_[static_cast<std::size_t>(id)] != Type::unused) tokens.emplace_back(token, id);
  });
  return tokens;
}

void SentencePieceVocabulary::Output::add(std::size_t begin, std::size_t end, TokenId id) {
  const bool unknown = id == vocabulary_.unk_;
  if (unknown && vocabulary_.byte_fallback_) {
    for (std::size_t i = begin; i < end; ++i) {
      sink_.add(vocabulary_.bytes_[static_cast<unsigned char>(text_[i])], begin, end);
    }
  } else if (unknown && unknown_before_) {
    if (sink_.spans != nullptr) sink_.spans->back().second = static_cast<std::uint32_t>(end);
  } else {
    sink_.add(id, begin, end);
  }
  unknown_before_ = unknown && !vocabulary_.byte_fallback_;
}

SentencePieceNormalizer::SentencePieceNormalizer(const SentencePieceFile::Rules& rules, bool whitespace_as_suffix,
                                                 std::shared_ptr<const SentencePieceVocabulary> vocabulary)
    : rules_(rules), whitespace_as_suffix_(whitespace_as_suffix), vocabulary_(std::move(vocabulary)) {
  if (!rules.precompiled_map.empty()) map_.emplace(rules.precompiled_map);
}

bool SentencePieceNormalizer::at_cut(CutPlace&) const {
  return false;
}

// Returns how many bytes at the begin of `text` become `replacement`.
std::size_t SentencePieceNormalizer::take(std::string_view text, std::string_view& replacement) const {
  if (const std::size_t length = vocabulary_ == nullptr ? 0 : vocabulary_->user_defined_prefix(text)) {
    replacement = text.substr(0, length);
    return length;
  }
  if (map_) {
    if (const std::size_t length = map_->find_longest(text, replacement)) return length;
  }
  const std::size_t length = utf8_length(text[0]);
  replacement = text.substr(0, length);
  return length;
}

void SentencePieceNormalizer::normalize(AlignedText& text) const {
  const std::string_view space = rules_.escape_whitespaces ? kVisibleSpace : " ";
  AlignedText out;
  out.tracked = text.tracked;
  out.text.reserve(text.text.size() + text.text.size() / 2 + 3);
  const std::string_view source = text.text;
  std::size_t at = 0;
  std::string_view replacement;
  if (rules_.remove_extra_whitespaces) {
    while (at < source.size()) {
      const std::size_t length = take(source.substr(at), replacement);
      if (replacement != " ") break;
      at += length;
    }
  }
  const auto span = [&](std::size_t begin, std::size_t end) {
    return text.tracked ? Span{text.origin[begin].begin, text.origin[end - 1].end} : Span{};
  };
  const auto put = [&](std::string_view bytes, Span origin) {
    out.text += bytes;
    if (out.tracked) out.origin.insert(out.origin.end(), bytes.size(), origin);
  };
  if (at < source.size()) {
    const auto first = span(at, at + 1);
    if (rules_.add_dummy_prefix && !whitespace_as_suffix_) put(space, {first.begin, first.begin});
    bool after_space = rules_.remove_extra_whitespaces;
    while (at < source.size()) {
      const std::size_t length = take(source.substr(at), replacement);
      const Span origin = span(at, at + length);
      while (after_space && replacement.starts_with(' ')) replacement.remove_prefix(1);
      if (!replacement.empty()) {
        for (std::size_t i = 0; i < replacement.size(); ++i) {
          put(replacement[i] == ' ' ? space : replacement.substr(i, 1), origin);
        }
        after_space = replacement.ends_with(' ');
      }
      at += length;
      if (!rules_.remove_extra_whitespaces) after_space = false;
    }
    if (rules_.remove_extra_whitespaces) {
      while (std::string_view(out.text).ends_with(space)) {
        out.text.erase(out.text.size() - space.size());
        if (out.tracked) out.origin.resize(out.text.size());
      }
    }
    if (rules_.add_dummy_prefix && whitespace_as_suffix_) put(space, span(source.size() - 1, source.size()));
  }
  text = std::move(out);
}

SentencePieceUnigram::SentencePieceUnigram(std::shared_ptr<const SentencePieceVocabulary> vocabulary)
    : SentencePieceModel(std::move(vocabulary)), trie_(vocabulary_->segments()) {
  lowest_ = std::numeric_limits<float>::max();
  // sentencepiece begins with the smallest positive number, so that user-defined symbols cost next to nothing where all
  // scores are negative, as they are.
  highest_ = std::numeric_limits<float>::min();
  bool any = false;
  for (std::size_t i = 0; i < vocabulary_->size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    if (vocabulary_->type(id) != Type::normal) continue;
    lowest_ = std::min(lowest_, vocabulary_->score(id));
    highest_ = std::max(highest_, vocabulary_->score(id));
    any = true;
  }
  if (!any) lowest_ = highest_ = 0;
}

void SentencePieceUnigram::tokenize(std::string_view piece, const TokenSink& out) const {
  constexpr float kUnknownPenalty = 10.0F;
  struct Node {
    float score = 0;
    std::uint32_t begin = TokenTrie::kNone;
    TokenId id = -1;
  };
  thread_local std::vector<Node> best;
  best.assign(piece.size() + 1, Node{});
  const float unknown = lowest_ - kUnknownPenalty;
  for (std::size_t at = 0; at < piece.size();) {
    const float here = best[at].score;
    const std::size_t length = std::min(utf8_length(piece[at]), piece.size() - at);
    bool single = false;
    std::uint32_t node = TokenTrie::root();
    for (std::size_t end = at; end < piece.size();) {
      node = trie_.next(node, piece[end]);
      if (node == TokenTrie::kNone) break;
      ++end;
      const TokenId id = trie_.id(node);
      if (id < 0) continue;
      Node& target = best[end];
      // User-defined symbols are worth more than whatever else their characters could make.
      const float score = vocabulary_->type(id) == Type::user_defined
                              ? static_cast<float>(static_cast<double>(static_cast<float>(end - at) * highest_) - 0.1)
                              : vocabulary_->score(id);
      const float candidate = score + here;
      if (target.begin == TokenTrie::kNone || candidate > target.score) {
        target = {candidate, static_cast<std::uint32_t>(at), id};
      }
      single = single || end - at == length;
    }
    if (!single) {
      Node& target = best[at + length];
      const float candidate = unknown + here;
      if (target.begin == TokenTrie::kNone || candidate > target.score) {
        target = {candidate, static_cast<std::uint32_t>(at), vocabulary_->unk()};
      }
    }
    at += length;
  }
  std::vector<std::uint32_t> ends;
  for (auto end = static_cast<std::uint32_t>(piece.size()); end > 0; end = best[end].begin) ends.push_back(end);
  SentencePieceVocabulary::Output output(*vocabulary_, piece, out);
  for (auto end = ends.rbegin(); end != ends.rend(); ++end) output.add(best[*end].begin, *end, best[*end].id);
  if (best.capacity() > 1 << 16) std::vector<Node>().swap(best);
}

void SentencePieceBpe::tokenize(std::string_view piece, const TokenSink& out) const {
  constexpr std::uint32_t kNone = ~std::uint32_t{0};
  struct Symbol {
    std::uint32_t previous, next, begin, length;
    bool frozen;
  };
  struct Pair {
    float score;
    std::uint32_t left, right, length;
    bool operator<(const Pair& other) const {  // the best one comes out of the queue first
      return score != other.score ? score < other.score : left > other.left;
    }
  };
  std::vector<Symbol> symbols;
  for (std::uint32_t at = 0; at < piece.size();) {
    const std::size_t defined = vocabulary_->user_defined_prefix(piece.substr(at));
    const auto length =
        static_cast<std::uint32_t>(defined > 0 ? defined : std::min(utf8_length(piece[at]), piece.size() - at));
    const auto index = static_cast<std::uint32_t>(symbols.size());
    symbols.push_back({index == 0 ? kNone : index - 1, index + 1, at, length, defined > 0});
    at += length;
  }
  if (symbols.empty()) return;
  symbols.back().next = kNone;
  std::priority_queue<Pair> queue;
  // Unused pieces take part in merges and are taken apart again at the end.
  std::unordered_map<std::string_view, std::uint32_t> left_lengths;
  const auto look = [&](std::uint32_t left, std::uint32_t right) {
    if (left == kNone || right == kNone || symbols[left].frozen || symbols[right].frozen) return;
    const std::string_view merged = piece.substr(symbols[left].begin, symbols[left].length + symbols[right].length);
    const TokenId id = vocabulary_->find_piece(merged);
    if (id < 0) return;
    queue.push({vocabulary_->score(id), left, right, static_cast<std::uint32_t>(merged.size())});
    if (vocabulary_->type(id) == Type::unused) left_lengths[merged] = symbols[left].length;
  };
  for (std::uint32_t i = 1; i < symbols.size(); ++i) look(i - 1, i);
  while (!queue.empty()) {
    const Pair best = queue.top();
    queue.pop();
    Symbol& left = symbols[best.left];
    Symbol& right = symbols[best.right];
    if (left.length == 0 || right.length == 0 || left.length + right.length != best.length) continue;
    left.length = best.length;
    left.next = right.next;
    if (right.next != kNone) symbols[right.next].previous = best.left;
    right.length = 0;
    look(left.previous, best.left);
    look(best.left, left.next);
  }
  SentencePieceVocabulary::Output output(*vocabulary_, piece, out);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> rest;
  for (std::uint32_t i = 0; i != kNone; i = symbols[i].next) {
    rest.assign(1, {symbols[i].begin, symbols[i].begin + symbols[i].length});
    while (!rest.empty()) {
      const auto [begin, end] = rest.back();
      rest.pop_back();
      const std::string_view text = piece.substr(begin, end - begin);
      TokenId id = vocabulary_->find(text);
      if (id < 0) id = vocabulary_->unk();
      const auto split = vocabulary_->type(id) == Type::unused ? left_lengths.find(text) : left_lengths.end();
      if (split == left_lengths.end()) {
        output.add(begin, end, id);
      } else {
        rest.emplace_back(begin + split->second, end);
        rest.emplace_back(begin, begin + split->second);
      }
    }
  }
}

SentencePieceDecoder::SentencePieceDecoder(const SentencePieceFile& file,
                                           std::shared_ptr<const SentencePieceVocabulary> vocabulary)
    : vocabulary_(std::move(vocabulary)), rules_(file.normalizer), unk_surface_(file.unk_surface) {
  if (!file.denormalizer.precompiled_map.empty()) denormalizer_.emplace(file.denormalizer, false, nullptr);
}

void SentencePieceDecoder::apply(std::vector<std::string>& tokens) const {
  std::string out;
  std::string bytes;
  const auto flush = [&] {
    for (std::size_t at = 0; at < bytes.size();) {
      // Every byte that doesn't belong to a whole character is one replacement.
      const std::size_t length = utf8_length(bytes[at]);
      const bool whole = at + length <= bytes.size() && is_valid_utf8(std::string_view(bytes).substr(at, length));
      out += whole ? std::string_view(bytes).substr(at, length) : std::string_view("\xEF\xBF\xBD");
      at += whole ? length : 1;
    }
    bytes.clear();
  };
  bool at_begin = true;
  bool space_seen = false;
  for (const std::string& token : tokens) {
    const TokenId id = vocabulary_->find(token);
    const Type type = id < 0 ? Type::normal : vocabulary_->type(id);
    if (type == Type::byte) {
      bytes += static_cast<char>(ByteFallbackDecoder::named_byte(token));
      continue;
    }
    flush();
    if (space_seen || !out.empty()) at_begin = false;
    space_seen = false;
    if (type == Type::control) continue;
    if (type == Type::unknown) {
      out += unk_surface_;
      continue;
    }
    std::string_view text = token;
    if (at_begin && (rules_.add_dummy_prefix || rules_.remove_extra_whitespaces) && text.starts_with(kVisibleSpace)) {
      text.remove_prefix(kVisibleSpace.size());
      space_seen = !rules_.remove_extra_whitespaces;
    }
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t space = std::min(text.find(kVisibleSpace, at), text.size());
      out += text.substr(at, space - at);
      at = space;
      if (at < text.size()) {
        out += ' ';
        at += kVisibleSpace.size();
      }
    }
  }
  flush();
  if (denormalizer_) {
    AlignedText text;
    text.text = std::move(out);
    denormalizer_->normalize(text);
    out = std::move(text.text);
  }
  tokens.assign(1, std::move(out));
}

}  // namespace mobula::text
