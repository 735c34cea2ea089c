/// Added tokens: strings that are found in the text before everything else, and stay whole.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "mobula/text/tokenizer.hpp"

namespace mobula::text {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool single_word = false;  ///< not within a word
  bool lstrip = false;       ///< takes the white space on its left with it
  bool rstrip = false;
  bool normalized = true;  ///< found in the normalized text
  bool special = false;    ///< left out by decode(skip_special_tokens)
};

/// Finds the leftmost, then longest of many strings.
class StringFinder {
 public:
  /// Adds a string that isn't empty; of two equal ones the last counts.
  void add(std::string_view text, std::uint32_t value);
  bool empty() const { return nodes_.empty(); }

  struct Match {
    std::size_t begin;
    std::size_t end;
    std::uint32_t value;
  };
  /// Finds the first match at or after `from`. Returns false where there is none.
  bool find(std::string_view text, std::size_t from, Match& match) const;

 private:
  struct Node {
    std::map<char, std::uint32_t> next;
    std::int64_t value = -1;
  };
  std::vector<Node> nodes_;
  bool first_[256] = {};
  char only_first_ = 0;
  int num_first_ = 0;
};

/// The added tokens of a tokenizer. Thread-safe once filled.
class AddedTokens {
 public:
  /// Adds a token; `normalized` is what the normalizer makes of its content.
  void add(AddedToken token, std::string normalized);
  /// Makes ready to find them, once all are there.
  void finish();

  /// One stretch of a text: an added token's id, or -1.
  struct Stretch {
    std::size_t begin;
    std::size_t end;
    TokenId id;
  };
  /// Appends the stretches of a text that isn't normalized yet (or is): they cover it; empty ones are left
  /// out.
  void split(std::string_view text, bool normalized, std::vector<Stretch>& out) const;
  /// Tells whether a text that isn't normalized yet (or is) holds the spelling of an added token anywhere.
  bool occurs(std::string_view text, bool normalized) const;
  /// Returns the bytes of the longest spelling.
  std::size_t longest() const { return longest_; }
  bool has(bool normalized) const { return !(normalized ? normalized_ : raw_).empty(); }

  /// Returns the added token of an id, or null.
  const AddedToken* find(TokenId id) const;
  /// Returns the id of a token by its content, -1 where there is none.
  TokenId find(std::string_view content) const;
  /// Returns what decoding sees of a token: its normalized spelling.
  std::string_view decoded(const AddedToken& token) const;
  /// Tells whether a string is a special token's content.
  bool is_special(std::string_view content) const;
  const std::map<TokenId, AddedToken>& all() const { return by_id_; }

 private:
  std::map<TokenId, AddedToken> by_id_;
  std::unordered_map<std::string, TokenId> by_content_;
  std::unordered_map<TokenId, std::string> normalized_content_;
  std::unordered_set<std::string> special_;
  std::size_t longest_ = 0;
  StringFinder raw_;
  StringFinder normalized_;
};

}  // namespace mobula::text
