/// A map from token strings to ids and back, kept in two flat arrays.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/text/tokenizer.hpp"

namespace mobula::text {

/// Hashes a few bytes or many; the same on every machine.
std::uint64_t hash_bytes(std::string_view bytes);

/// Strings and their ids. Lookups take constant time and allocate nothing. Thread-safe once filled.
class Vocabulary {
 public:
  /// Makes room for `count` tokens of `bytes` bytes in all.
  void reserve(std::size_t count, std::size_t bytes);
  /// Adds a token; one that is there already gets the new id. Ids need not be dense.
  void add(std::string_view token, TokenId id);

  /// Returns the id of a token, -1 where it has none.
  TokenId find(std::string_view token) const;
  /// Returns the token of an id, nothing where the id has none.
  std::optional<std::string_view> token(TokenId id) const;
  /// Calls visit(token, id) for each token, in the order they came.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const Entry& entry : entries_) visit(text(entry), entry.id);
  }
  /// Returns the number of different tokens.
  std::size_t size() const { return entries_.size(); }
  /// Returns 1 + the largest id.
  std::size_t num_ids() const { return by_id_.size(); }

 private:
  struct Entry {
    std::uint64_t hash;
    std::uint32_t begin;
    std::uint32_t length;
    TokenId id;
  };
  std::string_view text(const Entry& entry) const { return std::string_view(bytes_).substr(entry.begin, entry.length); }
  void grow(std::size_t slots);

  std::string bytes_;
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> slots_;  ///< index into entries_ + 1, 0 where free; a power of two of them
  std::vector<std::uint32_t> by_id_;  ///< index into entries_ + 1, 0 where no token has the id
};

}  // namespace mobula::text
