/// A tokenization model: pieces of text to ids.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/text/tokenizer.hpp"

namespace mobula::text {

/// What a model gives for a piece. `spans` (bytes of the piece, one a token) are only kept where they are
/// wanted.
struct TokenSink {
  std::vector<TokenId>& ids;
  std::vector<std::pair<std::uint32_t, std::uint32_t>>* spans = nullptr;

  void add(TokenId id, std::size_t begin, std::size_t end) const {
    ids.push_back(id);
    if (spans != nullptr) spans->emplace_back(static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end));
  }
};

/// Immutable and thread-safe once made.
class Model {
 public:
  virtual ~Model() = default;
  /// Returns the algorithm's name, such as "BPE".
  virtual std::string_view kind() const = 0;
  /// Appends the tokens of one piece (valid UTF-8, or raw bytes for a byte-level model).
  virtual void tokenize(std::string_view piece, const TokenSink& out) const = 0;
  /// Returns the id of a token as it is spelt in the file, -1 where there is none.
  virtual TokenId find(std::string_view token) const = 0;
  /// Returns the token of an id as it is spelt in the file.
  virtual std::optional<std::string_view> token(TokenId id) const = 0;
  /// Returns the number of tokens.
  virtual std::size_t size() const = 0;
  /// Returns 1 + the largest id.
  virtual std::size_t num_ids() const = 0;
  /// Tells whether looking a piece up in a cache is worth while.
  virtual bool cacheable() const { return true; }
  /// Tells whether every character is tokenized by itself, whatever stands beside it.
  virtual bool one_by_one() const { return false; }
};

}  // namespace mobula::text
