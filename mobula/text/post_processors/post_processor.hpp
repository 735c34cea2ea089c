/// What happens to ids after the model: special tokens, types, trimmed offsets; truncation and padding.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mobula/text/tokenizer.hpp"

namespace mobula::text {

/// An Encoding on its way, with the white space at both ends of every token, which offset trimming needs.
struct Sequence {
  std::string_view text;  ///< what the offsets point into
  Encoding encoding;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> spaces;

  std::size_t size() const { return encoding.ids.size(); }
  /// Appends a token that stands for no text.
  void add_special(TokenId id, std::uint32_t type);
  void append(const Sequence& other);
  /// Keeps tokens [begin, end).
  void keep(std::size_t begin, std::size_t end);
};

/// Works on one sequence, or on a pair. Immutable and thread-safe.
class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  virtual void apply(std::vector<Sequence>& sequences, bool add_special_tokens) const = 0;
  /// Returns the number of special tokens that apply() adds.
  virtual std::size_t num_added(bool pair) const = 0;
};

/// Trims white space off the offsets of byte-level tokens.
class ByteLevelPostProcessor final : public PostProcessor {
 public:
  ByteLevelPostProcessor(bool trim_offsets, bool add_prefix_space)
      : trim_offsets_(trim_offsets), add_prefix_space_(add_prefix_space) {}
  void apply(std::vector<Sequence>& sequences, bool add_special_tokens) const override;
  std::size_t num_added(bool) const override { return 0; }

 private:
  bool trim_offsets_;
  bool add_prefix_space_;
};

/// [CLS] A [SEP] and [CLS] A [SEP] B [SEP] (BERT), or <s> A </s> and <s> A </s></s> B </s> (RoBERTa).
class ClsSepPostProcessor final : public PostProcessor {
 public:
  struct Options {
    TokenId cls = 0;
    TokenId sep = 0;
    bool roberta = false;
    bool trim_offsets = false;
    bool add_prefix_space = false;
  };
  explicit ClsSepPostProcessor(Options options) : options_(options) {}
  void apply(std::vector<Sequence>& sequences, bool add_special_tokens) const override;
  std::size_t num_added(bool pair) const override { return pair ? (options_.roberta ? 4 : 3) : 2; }

 private:
  Options options_;
};

/// A list of sequences and special tokens.
class TemplatePostProcessor final : public PostProcessor {
 public:
  struct Part {
    int sequence = -1;         ///< 0 or 1; -1 for special tokens
    std::vector<TokenId> ids;  ///< of special tokens
    std::uint32_t type = 0;
  };
  TemplatePostProcessor(std::vector<Part> single, std::vector<Part> pair)
      : single_(std::move(single)), pair_(std::move(pair)) {}
  void apply(std::vector<Sequence>& sequences, bool add_special_tokens) const override;
  std::size_t num_added(bool pair) const override;

 private:
  std::vector<Part> single_;
  std::vector<Part> pair_;
};

/// Runs processors one after the other.
class SequencePostProcessor final : public PostProcessor {
 public:
  explicit SequencePostProcessor(std::vector<std::unique_ptr<PostProcessor>> steps) : steps_(std::move(steps)) {}
  void apply(std::vector<Sequence>& sequences, bool add_special_tokens) const override;
  std::size_t num_added(bool pair) const override;

 private:
  std::vector<std::unique_ptr<PostProcessor>> steps_;
};

/// Cuts to at most max_length tokens, special tokens included.
struct Truncation {
  enum class Strategy { longest_first, only_first, only_second };
  std::size_t max_length = 512;
  std::size_t stride = 0;
  Strategy strategy = Strategy::longest_first;
  bool from_left = false;

  /// Cuts one sequence or a pair to `limit` tokens in all. Throws Error(invalid_argument) where the strategy can't.
  void apply(std::vector<Sequence>& sequences, std::size_t limit) const;
  /// Throws Error(invalid_argument) where the stride isn't below the tokens that are kept.
  void check_stride(std::size_t length) const;

 private:
  void cut(Sequence& sequence, std::size_t length) const;
};

/// Fills up to a fixed length, or to a multiple of a number.
struct Padding {
  std::size_t fixed = 0;     ///< 0: no fixed length
  std::size_t multiple = 0;  ///< 0: any length will do
  bool on_left = false;
  TokenId id = 0;
  std::uint32_t type = 0;

  /// Returns the length that `length` tokens are filled up to.
  std::size_t target(std::size_t length) const;
  void apply(Encoding& encoding) const;
};

}  // namespace mobula::text
