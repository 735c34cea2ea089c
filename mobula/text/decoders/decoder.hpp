/// Decoders: the tokens' spellings back to text, in the steps that tokenizer.json names.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/text/regex/regex.hpp"

namespace mobula::text {

/// One step. Immutable and thread-safe.
class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Rewrites the tokens; their texts joined are the decoded text (after the last step).
  virtual void apply(std::vector<std::string>& tokens) const = 0;
  /// Tells whether each token is rewritten by itself, however many there are: only the first may be treated differently.
  virtual bool token_by_token() const { return false; }
};

/// Joins byte-level tokens' bytes; invalid UTF-8 becomes U+FFFD.
class ByteLevelDecoder final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override;
};

/// Joins all tokens into one.
class FuseDecoder final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override;
};

/// Takes BPE's end-of-word suffix for a space.
class BpeDecoder final : public Decoder {
 public:
  explicit BpeDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  void apply(std::vector<std::string>& tokens) const override;

 private:
  std::string suffix_;
};

/// Joins continuing pieces to their word and puts spaces between words.
class WordPieceDecoder final : public Decoder {
 public:
  WordPieceDecoder(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  void apply(std::vector<std::string>& tokens) const override;
  bool token_by_token() const override { return true; }

 private:
  std::string prefix_;
  bool cleanup_;
};

/// Turns the visible space back; the first token's goes where it was put there by the pre-tokenizer.
class MetaspaceDecoder final : public Decoder {
 public:
  MetaspaceDecoder(std::string replacement, bool prepended)
      : replacement_(std::move(replacement)), prepended_(prepended) {}
  void apply(std::vector<std::string>& tokens) const override;
  bool token_by_token() const override { return true; }

 private:
  std::string replacement_;
  bool prepended_;
};

/// Joins repeated tokens and leaves padding out (connectionist temporal classification; Graves et al., 2006).
class CtcDecoder final : public Decoder {
 public:
  CtcDecoder(std::string pad, std::string delimiter, bool cleanup)
      : pad_(std::move(pad)), delimiter_(std::move(delimiter)), cleanup_(cleanup) {}
  void apply(std::vector<std::string>& tokens) const override;

 private:
  std::string pad_;
  std::string delimiter_;
  bool cleanup_;
};

/// Turns runs of <0x00> to <0xFF> into the bytes they name; where those are no UTF-8, each becomes U+FFFD.
class ByteFallbackDecoder final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override;
  /// Returns the byte that a token such as <0x41> names, -1 for any other token.
  static int named_byte(std::string_view token);
};

/// Replaces what a pattern matches in each token.
class ReplaceDecoder final : public Decoder {
 public:
  ReplaceDecoder(Regex regex, std::string content) : regex_(std::move(regex)), content_(std::move(content)) {}
  void apply(std::vector<std::string>& tokens) const override;
  bool token_by_token() const override { return true; }

 private:
  Regex regex_;
  std::string content_;
};

/// Strips up to so many copies of a character from the ends of each token.
class StripDecoder final : public Decoder {
 public:
  StripDecoder(char32_t content, std::size_t start, std::size_t stop) : content_(content), start_(start), stop_(stop) {}
  void apply(std::vector<std::string>& tokens) const override;
  bool token_by_token() const override { return true; }

 private:
  char32_t content_;
  std::size_t start_;
  std::size_t stop_;
};

/// Runs steps one after the other.
class SequenceDecoder final : public Decoder {
 public:
  explicit SequenceDecoder(std::vector<std::unique_ptr<Decoder>> steps) : steps_(std::move(steps)) {}
  void apply(std::vector<std::string>& tokens) const override;
  const std::vector<std::unique_ptr<Decoder>>& steps() const { return steps_; }

 private:
  std::vector<std::unique_ptr<Decoder>> steps_;
};

}  // namespace mobula::text
