/// Packs documents of tokens into sequences of one length, and tells which token belongs to which document.
///
///     SequencePacker packer({.length = 2048});
///     packer.begin();                                    // a sequence
///     while (!packer.full() && has_document) packer.add(tokens);   // tells how many it took
///     PackedSequence sequence = packer.finish();
///
/// Attention stays inside documents where it is allowed for pairs of one `document` number only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace mobula::data {

struct PackOptions {
  std::size_t length = 0;  ///< tokens of a sequence
  bool split_documents =
      true;                  ///< false: a document that does not fit what is left begins the next sequence; the rest is
                             ///< padding. Those longer than a sequence are cut all the same.
  std::int64_t padding = 0;  ///< the token that stands behind the last document
};

/// One sequence; all three are of PackOptions::length.
struct PackedSequence {
  std::vector<std::int64_t> tokens;
  std::vector<std::int32_t> documents;  ///< counts from 0 within the sequence; -1: padding
  std::vector<std::int32_t> positions;  ///< counts from 0 where the document enters the sequence
};

/// Fills one sequence after the other. Holds nothing between them, so that a cursor need not know it. Not thread-safe.
class SequencePacker {
 public:
  /// Throws Error(invalid_argument) for a length of 0.
  explicit SequencePacker(PackOptions options);

  /// Starts a sequence.
  void begin();
  /// Takes what fits of a document, from its first token on; returns how many tokens were taken. Less than all means that
  /// the sequence is full: the rest belongs to the next one.
  std::size_t add(std::span<const std::int64_t> document);
  bool full() const { return closed_ || sequence_.tokens.size() == options_.length; }
  bool empty() const { return sequence_.tokens.empty(); }
  /// Returns the sequence, padded.
  PackedSequence finish();

 private:
  PackOptions options_;
  PackedSequence sequence_;
  std::int32_t num_documents_ = 0;
  bool closed_ = false;  ///< a document did not fit
};

}  // namespace mobula::data
