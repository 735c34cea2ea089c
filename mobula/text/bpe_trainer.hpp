/// Training of byte-level BPE vocabularies.
///
///     auto tokenizer = train_bpe(text, {.vocab_size = 8192});
///     tokenizer->save("tokenizer/");
///
/// The result equals that of Hugging Face's BpeTrainer on the same texts with GPT-2's pre-tokenizer and the
/// byte alphabet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/text/tokenizer.hpp"

namespace mobula::text {

struct BpeTrainingOptions {
  std::size_t vocab_size = 8192;    ///< ids in all: special tokens, the 256 bytes, merges; fewer where pairs run out
  std::uint64_t min_frequency = 0;  ///< a pair that is rarer isn't merged
  std::vector<std::string> special_tokens = {"<|endoftext|>"};  ///< get the first ids

  /// Throws Error(invalid_argument) naming the field that is out of range.
  void validate() const;
};

/// Counts words text by text, then learns merges. Memory grows with the number of different words up to a
/// few million (WordCounts), not with the text. Not thread-safe.
class BpeTrainer {
 public:
  explicit BpeTrainer(BpeTrainingOptions options);
  BpeTrainer(const BpeTrainer&) = delete;
  BpeTrainer& operator=(const BpeTrainer&) = delete;
  ~BpeTrainer();

  /// Counts the words of one text; words don't reach over its end. Invalid UTF-8 is read as U+FFFD.
  void feed(std::string_view text);
  /// Adds the words that another trainer counted, such as one of another thread.
  void add(const BpeTrainer& other);
  /// Learns the merges; `progress`, where not empty, hears the number of tokens now and then. Throws Error(invalid_argument)
  /// where no text was fed.
  std::shared_ptr<const Tokenizer> train(const std::function<void(std::size_t)>& progress = {}) const;

 private:
  struct Words;
  BpeTrainingOptions options_;
  std::unique_ptr<Words> words_;
};

/// Trains on one text. Throws Error(invalid_argument) for empty text or bad options.
std::shared_ptr<const Tokenizer> train_bpe(std::string_view text, const BpeTrainingOptions& options = {});

}  // namespace mobula::text
