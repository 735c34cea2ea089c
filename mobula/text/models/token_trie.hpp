/// A trie over the bytes of tokens.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "mobula/text/tokenizer.hpp"

namespace mobula::text {

/// Walks tokens byte by byte. Immutable and thread-safe.
class TokenTrie {
 public:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  TokenTrie() = default;
  /// Builds the trie; of equal tokens the last counts.
  explicit TokenTrie(std::vector<std::pair<std::string_view, TokenId>> tokens);

  static constexpr std::uint32_t root() { return 0; }
  /// Returns the node behind `byte`, or kNone.
  std::uint32_t next(std::uint32_t node, char byte) const {
    const auto label = static_cast<unsigned char>(byte);
    const Node& at = nodes_[node];
    if (at.table != kNone) return tables_[at.table + label];
    for (std::uint32_t i = at.first; i < at.first + at.count; ++i) {
      if (labels_[i] == label) return at.child + (i - at.first);
    }
    return kNone;
  }
  /// Returns the id of the token that ends at a node, -1 where none does.
  TokenId id(std::uint32_t node) const { return nodes_[node].id; }
  /// Returns the node behind all bytes of `text`, or kNone.
  std::uint32_t walk(std::uint32_t node, std::string_view text) const {
    for (std::size_t i = 0; i < text.size() && node != kNone; ++i) node = next(node, text[i]);
    return node;
  }

 private:
  struct Node {
    TokenId id = -1;
    std::uint32_t first = 0;  ///< its labels are labels_[first, first + count)
    std::uint32_t count = 0;
    std::uint32_t child = 0;      ///< its children are nodes child .. child + count
    std::uint32_t table = kNone;  ///< of nodes with many children: tables_[table + label]
  };
  std::vector<Node> nodes_;
  std::vector<unsigned char> labels_;
  std::vector<std::uint32_t> tables_;
};

}  // namespace mobula::text
