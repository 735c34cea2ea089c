/// Decoders: the tokens' spellings back to text, in the steps that tokenizer.json names.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace mobula::text {

/// One step. Immutable and thread-safe.
class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Rewrites the tokens; their texts joined are the decoded text (after the last step).
  virtual void apply(std::vector<std::string>& tokens) const = 0;
  /// Tells whether this step reads byte-level spellings and nothing else, so that bytes can be looked up by
  /// id.
  virtual bool is_byte_level() const { return false; }
};

/// Joins byte-level tokens' bytes; invalid UTF-8 becomes U+FFFD.
class ByteLevelDecoder final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override;
  bool is_byte_level() const override { return true; }
};

/// Joins all tokens into one.
class FuseDecoder final : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override;
};

/// Runs steps one after the other.
class SequenceDecoder final : public Decoder {
 public:
  explicit SequenceDecoder(std::vector<std::unique_ptr<Decoder>> steps) : steps_(std::move(steps)) {}
  void apply(std::vector<std::string>& tokens) const override;

 private:
  std::vector<std::unique_ptr<Decoder>> steps_;
};

}  // namespace mobula::text
