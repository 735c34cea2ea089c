/// A bounded memory of words and their ids, so that common words are tokenized once.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>
#include <vector>

#include "mobula/text/tokenizer.hpp"

namespace mobula::text {

/// A two-way table of short words of at most kMaxIds tokens; a new word takes the place of an old one. 2 MiB,
/// touched as it fills. Not thread-safe: each encoding thread borrows one with a Workspace.
class WordCache {
 public:
  static constexpr std::size_t kMaxBytes = 24;
  static constexpr std::size_t kMaxIds = 8;

  WordCache() : memory_(std::calloc(kSlots + 1, sizeof(Entry))) {
    if (memory_ == nullptr) throw std::bad_alloc();
    entries_ = reinterpret_cast<Entry*>((reinterpret_cast<std::uintptr_t>(memory_) + 63) & ~std::uintptr_t{63});
  }
  WordCache(const WordCache&) = delete;
  WordCache& operator=(const WordCache&) = delete;
  ~WordCache() { std::free(memory_); }

  /// A word's bytes as three numbers.
  struct Key {
    std::array<std::uint64_t, 3> words;
    std::uint64_t hash;
    std::uint8_t length;
  };
  /// Makes the key of a word of 1 to kMaxBytes bytes; `readable` bytes may be read from its begin.
  static Key key(std::string_view word, std::size_t readable) {
    Key key;
    key.length = static_cast<std::uint8_t>(word.size());
    if (readable >= kMaxBytes) {
      std::memcpy(key.words.data(), word.data(), kMaxBytes);
      const std::size_t bits = word.size() * 8;
      for (std::size_t i = 0; i < 3; ++i) {
        const std::size_t begin = i * 64;
        if (bits <= begin) {
          key.words[i] = 0;
        } else if (bits < begin + 64) {
          key.words[i] &= (std::uint64_t{1} << (bits - begin)) - 1;
        }
      }
    } else {
      key.words = {};
      std::memcpy(key.words.data(), word.data(), word.size());
    }
    const auto product =
        static_cast<unsigned __int128>(key.words[0] ^ 0x9E3779B97F4A7C15U) *
        ((key.words[1] ^ std::rotl(key.words[2], 29)) * 0xA0761D6478BD642FU ^ (0xD6E8FEB86659FD93U + key.length));
    key.hash = static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
    return key;
  }

  /// Appends the ids of a word; returns false where it isn't known.
  bool find(const Key& key, std::vector<TokenId>& out) const {
    const Entry* entry = &entries_[(key.hash >> 20) & (kSlots - 2)];
    for (int way = 0; way < 2; ++way, ++entry) {
      const std::uint64_t differs =
          (entry->words[0] ^ key.words[0]) | (entry->words[1] ^ key.words[1]) | (entry->words[2] ^ key.words[2]);
      if (entry->length == key.length && differs == 0) {
        out.insert(out.end(), entry->ids.begin(), entry->ids.begin() + entry->count);
        return true;
      }
    }
    return false;
  }
  /// Remembers a word and its ids; more than kMaxIds are not remembered.
  void insert(const Key& key, const TokenId* ids, std::size_t count) {
    if (count > kMaxIds) return;
    Entry* entry = &entries_[(key.hash >> 20) & (kSlots - 2)];
    if (entry->length != 0) entry[1] = entry[0];
    entry->words = key.words;
    entry->length = key.length;
    entry->count = static_cast<std::uint8_t>(count);
    std::memcpy(entry->ids.data(), ids, count * sizeof(TokenId));
  }

 private:
  struct Entry {
    std::array<std::uint64_t, 3> words;
    std::array<TokenId, kMaxIds> ids;
    std::uint8_t length;  ///< 0 where free
    std::uint8_t count;
  };
  static_assert(sizeof(Entry) == 64);
  static constexpr std::size_t kSlots = 1 << 15;

  void* memory_;
  Entry* entries_;  ///< on cache lines
};

}  // namespace mobula::text
