/// The pre-tokenizers that cut by classes of characters, patterns and lengths.
#pragma once

#include <optional>
#include <string>

#include "mobula/text/pre_tokenizers/pattern_scanner.hpp"
#include "mobula/text/pre_tokenizers/pre_tokenizer.hpp"
#include "mobula/text/regex/regex.hpp"

namespace mobula::text {

/// Cuts where a pattern matches.
class SplitPreTokenizer final : public PreTokenizer {
 public:
  SplitPreTokenizer(Regex regex, SplitBehavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}
  void apply(PieceList& list) const override;
  CutEffect at_cut(CutPlace& place) const override;

 private:
  Regex regex_;
  SplitBehavior behavior_;
  bool invert_;
};

/// Cuts with a hand-written scanner, whose matches cover the text.
class ScanPreTokenizer final : public PreTokenizer {
 public:
  explicit ScanPreTokenizer(ScanPattern pattern) : pattern_(pattern) {}
  void apply(PieceList& list) const override;
  CutEffect at_cut(CutPlace& place) const override;

 private:
  ScanPattern pattern_;
};

/// Cuts at characters of a class.
class CharacterPreTokenizer final : public PreTokenizer {
 public:
  enum class Kind { white_space, punctuation, digits, delimiter };
  CharacterPreTokenizer(Kind kind, SplitBehavior behavior, char32_t delimiter = 0)
      : kind_(kind), behavior_(behavior), delimiter_(delimiter) {}
  void apply(PieceList& list) const override;
  CutEffect at_cut(CutPlace& place) const override;

 private:
  Kind kind_;
  SplitBehavior behavior_;
  char32_t delimiter_;
};

/// Words (\w+) and runs of what is neither word nor space.
class WhitespacePreTokenizer final : public PreTokenizer {
 public:
  void apply(PieceList& list) const override;
  CutEffect at_cut(CutPlace& place) const override;
};

/// BERT's: at white space, and around each punctuation sign.
class BertPreTokenizer final : public PreTokenizer {
 public:
  void apply(PieceList& list) const override;
  CutEffect at_cut(CutPlace& place) const override;
};

/// SentencePiece's: spaces become a visible character, which begins each piece.
class MetaspacePreTokenizer final : public PreTokenizer {
 public:
  enum class Prepend { first, never, always };
  MetaspacePreTokenizer(char32_t replacement, Prepend prepend, bool split);
  void apply(PieceList& list) const override;
  CutEffect at_cut(CutPlace& place) const override;
  Prepend prepend() const { return prepend_; }

 private:
  std::string replacement_;
  Prepend prepend_;
  bool split_;
};

/// Cuts before a text that follows something else: not a step of any file, but one that keeps pieces short for models that
/// never merge over such a place.
class BoundaryPreTokenizer final : public PreTokenizer {
 public:
  explicit BoundaryPreTokenizer(std::string boundary) : boundary_(std::move(boundary)) {}
  void apply(PieceList& list) const override;
  CutEffect at_cut(CutPlace& place) const override;

 private:
  std::string boundary_;
};

/// Cuts where the script changes; kana counts as Han.
class UnicodeScriptsPreTokenizer final : public PreTokenizer {
 public:
  void apply(PieceList& list) const override;
  CutEffect at_cut(CutPlace& place) const override;
};

/// Cuts into pieces of so many characters.
class FixedLengthPreTokenizer final : public PreTokenizer {
 public:
  explicit FixedLengthPreTokenizer(std::size_t length) : length_(length) {}
  void apply(PieceList& list) const override;
  CutEffect at_cut(CutPlace& place) const override;

 private:
  std::size_t length_;
};

}  // namespace mobula::text
