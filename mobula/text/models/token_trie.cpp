#include "mobula/text/models/token_trie.hpp"

#include <algorithm>

namespace mobula::text {

TokenTrie::TokenTrie(std::vector<std::pair<std::string_view, TokenId>> tokens) {
  constexpr std::uint32_t kManyChildren = 8;
  std::stable_sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
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
