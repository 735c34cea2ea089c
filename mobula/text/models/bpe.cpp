#include "mobula/text/models/bpe.hpp"

#include <fmt/format.h>

#include <bit>
#include <queue>

#include "mobula/base/error.hpp"
#include "mobula/text/byte_alphabet.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

// Up to here a scan for the best pair beats a heap.
constexpr std::size_t kShortPiece = 48;

std::uint64_t pair_of(TokenId left, TokenId right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

std::size_t slot_of(std::uint64_t pair, std::size_t mask) {
  return (pair * 0x9E3779B97F4A7C15U >> 20) & mask;
}

}  // namespace

BpeModel::BpeModel(Vocabulary vocabulary, const std::vector<std::pair<std::string_view, std::string_view>>& merges,
                   BpeOptions options, std::string_view name)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)), num_merges_(merges.size()) {
  if (options_.unk_token) unk_ = vocabulary_.find(*options_.unk_token);
  merges_.resize(std::bit_ceil(merges.size() * 2 + 16));
  std::string merged;
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const auto lookup = [&](std::string_view token) {
      const TokenId id = vocabulary_.find(token);
      if (id < 0) {
        throw Error(ErrorCode::corrupt,
                    fmt::format("{}: model.merges[{}]: '{}' is not in model.vocab", name, rank, token));
      }
      return id;
    };
    const TokenId left_id = lookup(left);
    const TokenId right_id = lookup(right);
    if (right.size() < options_.continuing_subword_prefix.size()) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: model.merges[{}]: '{}' lacks the prefix '{}'", name, rank, right,
                                                  options_.continuing_subword_prefix));
    }
    merged.assign(left).append(right.substr(options_.continuing_subword_prefix.size()));
    const TokenId merged_id = lookup(merged);
    add_merge(left_id, right_id, static_cast<std::uint32_t>(rank), merged_id);
  }
}

void BpeModel::add_merge(TokenId left, TokenId right, std::uint32_t rank, TokenId merged) {
  const std::size_t mask = merges_.size() - 1;
  const std::uint64_t pair = pair_of(left, right);
  std::size_t slot = slot_of(pair, mask);
  while (merges_[slot].pair != kNoPair && merges_[slot].pair != pair) slot = (slot + 1) & mask;
  merges_[slot] = {pair, rank, merged};
}

std::unique_ptr<BpeModel> BpeModel::from_ranks(const std::vector<std::pair<std::string, TokenId>>& tokens) {
  std::unique_ptr<BpeModel> model(new BpeModel);
  model->options_.ignore_merges = true;
  model->raw_bytes_ = true;
  std::string spelling;
  for (const auto& [bytes, id] : tokens) {
    spelling.clear();
    append_byte_level(spelling, bytes);
    model->vocabulary_.add(spelling, id);
    model->raw_.add(bytes, id);
    if (bytes.size() == 1) model->byte_ids_[static_cast<unsigned char>(bytes[0])] = id;
  }
  struct Found {
    TokenId left, right, merged;
  };
  std::vector<Found> found;
  for (const auto& [bytes, id] : tokens) {
    for (std::size_t at = 1; at < bytes.size(); ++at) {
      const TokenId left = model->raw_.find(std::string_view(bytes).substr(0, at));
      if (left < 0) continue;
      const TokenId right = model->raw_.find(std::string_view(bytes).substr(at));
      if (right >= 0) found.push_back({left, right, id});
    }
  }
  model->num_merges_ = found.size();
  model->merges_.resize(std::bit_ceil(found.size() * 2 + 16));
  for (const Found& each : found)
    model->add_merge(each.left, each.right, static_cast<std::uint32_t>(each.merged), each.merged);
  return model;
}

bool BpeModel::use_raw_bytes() {
  if (!options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty()) return false;
  std::string spelling;
  for (int byte = 0; byte < 256; ++byte) {
    spelling.clear();
    append_utf8(spelling, byte_to_character(static_cast<std::uint8_t>(byte)));
    byte_ids_[static_cast<std::size_t>(byte)] = vocabulary_.find(spelling);
    // An absent byte may be one of several things to a file; the plain way handles them all.
    if (byte_ids_[static_cast<std::size_t>(byte)] < 0) return false;
  }
  if (options_.ignore_merges) {
    std::string bytes;
    for (std::size_t id = 0; id < vocabulary_.num_ids(); ++id) {
      const auto token = vocabulary_.token(static_cast<TokenId>(id));
      bytes.clear();
      if (token && append_bytes_of(bytes, *token)) raw_.add(bytes, vocabulary_.find(*token));
    }
  }
  raw_bytes_ = true;
  return true;
}

bool BpeModel::one_by_one() const {
  const bool plain = options_.continuing_subword_prefix.empty() && options_.end_of_word_suffix.empty();
  return plain && num_merges_ == 0 && !options_.ignore_merges && !options_.fuse_unk && !options_.byte_fallback;
}

bool BpeModel::never_merges_before(std::string_view boundary) const {
  const bool plain =
      options_.continuing_subword_prefix.empty() && options_.end_of_word_suffix.empty() && !options_.ignore_merges;
  if (!plain || raw_bytes_ || vocabulary_.find(boundary) < 0) return false;
  bool never = true;
  vocabulary_.for_each([&](std::string_view token, TokenId) {
    while (token.starts_with(boundary)) token.remove_prefix(boundary.size());
    never = never && token.find(boundary) == std::string_view::npos;
  });
  return never;
}

const BpeModel::Merge* BpeModel::find_merge(TokenId left, TokenId right) const {
  const std::uint64_t pair = pair_of(left, right);
  const std::size_t mask = merges_.size() - 1;
  for (std::size_t slot = slot_of(pair, mask);; slot = (slot + 1) & mask) {
    if (merges_[slot].pair == pair) return &merges_[slot];
    if (merges_[slot].pair == kNoPair) return nullptr;
  }
}

void BpeModel::split(std::string_view piece, std::vector<Symbol>& symbols) const {
  if (raw_bytes_) {
    for (const char byte : piece) symbols.push_back({byte_ids_[static_cast<unsigned char>(byte)], 1});
    return;
  }
  // An unknown character waits here, so that those behind it can join it; byte fallback does not flush it, as
  // in the library this follows.
  Symbol unknown{-1, 0};
  std::string spelling;
  for (std::size_t at = 0; at < piece.size();) {
    const std::size_t length = utf8_length(piece[at]);
    const bool first = at == 0;
    const bool last = at + length == piece.size();
    std::string_view token = piece.substr(at, length);
    if ((!first && !options_.continuing_subword_prefix.empty()) || (last && !options_.end_of_word_suffix.empty())) {
      spelling.clear();
      if (!first) spelling += options_.continuing_subword_prefix;
      spelling += piece.substr(at, length);
      if (last) spelling += options_.end_of_word_suffix;
      token = spelling;
    }
    at += length;
    if (const TokenId id = vocabulary_.find(token); id >= 0) {
      if (unknown.id >= 0) symbols.push_back(unknown);
      unknown.id = -1;
      symbols.push_back({id, static_cast<std::uint32_t>(length)});
      continue;
    }
    if (options_.byte_fallback) {
      const std::size_t before = symbols.size();
      for (const char byte : token) {
        const TokenId id = vocabulary_.find(fmt::format("<0x{:02X}>", static_cast<unsigned char>(byte)));
        if (id < 0) break;
        symbols.push_back({id, 1});
      }
      if (symbols.size() - before == token.size()) continue;
      symbols.resize(before);
    }
    if (!options_.unk_token) continue;
    if (unk_ < 0) {
      throw_invalid(
          fmt::format("a character is not in the vocabulary, and neither is unk_token '{}'", *options_.unk_token));
    }
    if (unknown.id >= 0 && options_.fuse_unk) {
      unknown.length += static_cast<std::uint32_t>(length);
      continue;
    }
    if (unknown.id >= 0) symbols.push_back(unknown);
    unknown = {unk_, static_cast<std::uint32_t>(length)};
  }
  if (unknown.id >= 0) symbols.push_back(unknown);
}

void BpeModel::merge_short(std::vector<Symbol>& symbols) const {
  std::array<std::uint32_t, kShortPiece> ranks;  // of the pair that begins at each symbol
  std::array<TokenId, kShortPiece> merged;
  std::size_t count = symbols.size();
  const auto look = [&](std::size_t i) {
    const Merge* merge = find_merge(symbols[i].id, symbols[i + 1].id);
    ranks[i] = merge == nullptr ? kNoRank : merge->rank;
    merged[i] = merge == nullptr ? -1 : merge->merged;
  };
  for (std::size_t i = 0; i + 1 < count; ++i) look(i);
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (ranks[best] == kNoRank) break;
    symbols[best] = {merged[best], symbols[best].length + symbols[best + 1].length};
    --count;
    for (std::size_t i = best + 1; i < count; ++i) symbols[i] = symbols[i + 1];
    for (std::size_t i = best + 1; i + 1 < count; ++i) {
      ranks[i] = ranks[i + 1];
      merged[i] = merged[i + 1];
    }
    if (best + 1 < count) look(best);
    if (best > 0) look(best - 1);
  }
  symbols.resize(count);
}

void BpeModel::merge_long(std::vector<Symbol>& symbols) const {
  struct Link {
    std::uint32_t previous, next;
  };
  struct Candidate {
    std::uint32_t rank, at;
    TokenId merged;
    bool operator<(const Candidate& other) const {  // the best one comes out of the queue first
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  constexpr std::uint32_t kNone = ~std::uint32_t{0};
  std::vector<Link> links(symbols.size());
  std::vector<Candidate> found;
  const auto look = [&](std::uint32_t left, std::uint32_t right, auto&& take) {
    if (const Merge* merge = find_merge(symbols[left].id, symbols[right].id))
      take(Candidate{merge->rank, left, merge->merged});
  };
  for (std::uint32_t i = 0; i < symbols.size(); ++i) {
    links[i] = {i == 0 ? kNone : i - 1, i + 1 == symbols.size() ? kNone : i + 1};
    if (i + 1 < symbols.size()) look(i, i + 1, [&](Candidate c) { found.push_back(c); });
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>{}, std::move(found));
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    // Symbols that were merged into their left neighbour have length 0 and id -1.
    const std::uint32_t right = links[best.at].next;
    if (symbols[best.at].id < 0 || right == kNone) continue;
    const Merge* merge = find_merge(symbols[best.at].id, symbols[right].id);
    if (merge == nullptr || merge->merged != best.merged || merge->rank != best.rank) continue;
    symbols[best.at] = {best.merged, symbols[best.at].length + symbols[right].length};
    symbols[right] = {-1, 0};
    links[best.at].next = links[right].next;
    if (links[right].next != kNone) links[links[right].next].previous = best.at;
    const auto push = [&](Candidate c) { queue.push(c); };
    if (links[best.at].previous != kNone) look(links[best.at].previous, best.at, push);
    if (links[best.at].next != kNone) look(best.at, links[best.at].next, push);
  }
  std::erase_if(symbols, [](const Symbol& symbol) { return symbol.id < 0; });
}

void BpeModel::tokenize(std::string_view piece, const TokenSink& out) const {
  if (piece.empty()) return;
  if (options_.ignore_merges) {
    if (const TokenId id = (raw_bytes_ ? raw_ : vocabulary_).find(piece); id >= 0) {
      out.add(id, 0, piece.size());
      return;
    }
  }
  if (raw_bytes_ && num_merges_ == 0) {
    for (std::size_t i = 0; i < piece.size(); ++i) out.add(byte_ids_[static_cast<unsigned char>(piece[i])], i, i + 1);
    return;
  }
  thread_local std::vector<Symbol> symbols;
  symbols.clear();
  split(piece, symbols);
  if (num_merges_ > 0 && symbols.size() > 1) {
    if (symbols.size() <= kShortPiece) {
      merge_short(symbols);
    } else {
      merge_long(symbols);
    }
  }
  std::size_t at = 0;
  for (const Symbol& symbol : symbols) {
    out.add(symbol.id, at, at + symbol.length);
    at += symbol.length;
  }
  if (symbols.capacity() > 1 << 16) {  // one huge piece must not stay in memory for ever
    symbols.clear();
    symbols.shrink_to_fit();
  }
}

}  // namespace mobula::text
