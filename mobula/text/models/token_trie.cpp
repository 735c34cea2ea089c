#include "mobula/text/models/token_trie.hpp"

#include <algorithm>

namespace mobula::text {
namespace {

using Tokens = std::vector<std::pair<std::string_view, TokenId>>;

// Sorts by the bytes, keeping the order of equal tokens. Most comparisons are decided by the first eight bytes as one number.
void sort(Tokens& tokens) {
  struct Key {
    std::uint64_t head;
    std::uint32_t index;
  };
  std::vector<Key> keys;
  keys.reserve(tokens.size());
  for (std::uint32_t i = 0; i < tokens.size(); ++i) {
    const std::string_view token = tokens[i].first;
    std::uint64_t head = 0;
    for (std::size_t b = 0; b < 8; ++b)
      head = head << 8 | (b < token.size() ? static_cast<unsigned char>(token[b]) : 0);
    keys.push_back({head, i});
  }
  std::sort(keys.begin(), keys.end(), [&](const Key& a, const Key& b) {
    if (a.head != b.head) return a.head < b.head;
    const int order = tokens[a.index].first.compare(tokens[b.index].first);
    return order != 0 ? order < 0 : a.index < b.index;
  });
  Tokens sorted;
  sorted.reserve(tokens.size());
  for (const Key& key : keys) sorted.push_back(tokens[key.index]);
  tokens = std::move(sorted);
}

}  // namespace

TokenTrie::TokenTrie(std::vector<std::pair<std::string_view, TokenId>> tokens) {
  constexpr std::uint32_t kManyChildren = 8;
  sort(tokens);
  struct Range {
    std::uint32_t node;
    std::size_t begin, end, depth;
  };
  nodes_.emplace_back();
  std::vector<Range> queue = {{0, 0, tokens.size(), 0}};
  // Breadth first, so that a node's children stand in a row.
  for (std::size_t q = 0; q < queue.size(); ++q) {
    auto [node, begin, end, depth] = queue[q];
    for (; begin < end && tokens[begin].first.size() == depth; ++begin) nodes_[node].id = tokens[begin].second;
    nodes_[node].first = static_cast<std::uint32_t>(labels_.size());
    nodes_[node].child = static_cast<std::uint32_t>(nodes_.size());
    while (begin < end) {
      const auto label = static_cast<unsigned char>(tokens[begin].first[depth]);
      std::size_t stop = begin;
      while (stop < end && static_cast<unsigned char>(tokens[stop].first[depth]) == label) ++stop;
      labels_.push_back(label);
      queue.push_back({static_cast<std::uint32_t>(nodes_.size()), begin, stop, depth + 1});
      nodes_.emplace_back();
      ++nodes_[node].count;
      begin = stop;
    }
    if (nodes_[node].count > kManyChildren) {
      nodes_[node].table = static_cast<std::uint32_t>(tables_.size());
      tables_.resize(tables_.size() + 256, kNone);
      for (std::uint32_t i = 0; i < nodes_[node].count; ++i) {
        tables_[nodes_[node].table + labels_[nodes_[node].first + i]] = nodes_[node].child + i;
      }
    }
  }
}

}  // namespace mobula::text
