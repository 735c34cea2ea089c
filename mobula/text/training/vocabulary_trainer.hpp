/// Training of vocabularies on texts of any size: BPE, Unigram, WordPiece.
///
///     VocabularyTrainer trainer({.kind = VocabularyKind::unigram, .vocab_size = 8000});
///     for (const auto& line : lines) trainer.feed(line);
///     trainer.train()->save("tokenizer/");
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

enum class VocabularyKind {
  bpe,        ///< byte-level, cut by GPT-2's pattern; equals Hugging Face's BpeTrainer
  unigram,    ///< a language model of pieces (Kudo, 2018) on words that begin with a visible space
  wordpiece,  ///< BERT's: merges learned as for BPE, "##" before what continues a word
};

struct VocabularyTrainingOptions {
  VocabularyKind kind = VocabularyKind::bpe;
  std::size_t vocab_size = 8192;  ///< ids in all, special tokens included
  std::uint64_t min_frequency =
      0;  ///< BPE, WordPiece: a rarer pair isn't merged; Unigram: a rarer piece is no candidate
  std::size_t limit_alphabet = 0;  ///< keeps so many of the most frequent characters (not BPE, which has bytes); 0: all
  bool lowercase = true;           ///< WordPiece: lower case, accents stripped
  bool byte_fallback = true;       ///< Unigram: unknown characters become bytes
  std::vector<std::string> special_tokens;  ///< get the first ids; none: those usual for the kind

  /// Throws Error(invalid_argument) naming the field that is out of range.
  void validate() const;
};

/// Counts words, then learns. Memory grows with the number of different words up to a few million. Results are the same on
/// any number of threads. Not thread-safe.
class VocabularyTrainer {
 public:
  explicit VocabularyTrainer(VocabularyTrainingOptions options);
  VocabularyTrainer(const VocabularyTrainer&) = delete;
  VocabularyTrainer& operator=(const VocabularyTrainer&) = delete;
  ~VocabularyTrainer();

  /// Counts the words of one text, such as a line; words don't reach over its end. Invalid UTF-8 is read as U+FFFD.
  void feed(std::string_view text);
  /// Adds the words that another trainer of the same options counted, such as one of another thread.
  void add(const VocabularyTrainer& other);
  /// Learns the vocabulary. `progress`, where not empty, hears what is done now and then. Throws Error(invalid_argument)
  /// where no text was fed, or where the vocabulary can't hold the characters.
  std::shared_ptr<const Tokenizer> train(unsigned threads = 1,
                                         const std::function<void(std::string_view)>& progress = {}) const;

 private:
  struct Words;
  VocabularyTrainingOptions options_;
  std::unique_ptr<Words> words_;
};

}  // namespace mobula::text
