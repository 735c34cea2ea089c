/// Normalizers: rewrite a text before it is cut, keeping track of where each character came from.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/text/aligned_text.hpp"
#include "mobula/text/cutting.hpp"
#include "mobula/text/regex/regex.hpp"
#include "mobula/text/unicode/normalization.hpp"

namespace mobula::text {

/// Immutable and thread-safe.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void normalize(AlignedText& text) const = 0;
  /// Follows the place of a cut (cutting.hpp); returns false where texts may not be cut there.
  virtual bool at_cut(CutPlace& place) const = 0;
};

/// NFC, NFD, NFKC or NFKD.
class FormNormalizer final : public Normalizer {
 public:
  explicit FormNormalizer(NormalizationForm form) : form_(form) {}
  void normalize(AlignedText& text) const override;
  bool at_cut(CutPlace& place) const override;

 private:
  NormalizationForm form_;
};

/// Lower case, character by character.
class LowercaseNormalizer final : public Normalizer {
 public:
  void normalize(AlignedText& text) const override;
  bool at_cut(CutPlace& place) const override;
};

/// Removes combining marks.
class StripAccentsNormalizer final : public Normalizer {
 public:
  void normalize(AlignedText& text) const override;
  bool at_cut(CutPlace& place) const override;
};

/// Removes white space at the ends.
class StripNormalizer final : public Normalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  void normalize(AlignedText& text) const override;
  bool at_cut(CutPlace& place) const override;

 private:
  bool left_;
  bool right_;
};

/// BERT's: cleans controls, sets Chinese characters apart, strips accents, lower case (Devlin et al., 2019).
class BertNormalizer final : public Normalizer {
 public:
  struct Options {
    bool clean_text = true;
    bool handle_chinese_chars = true;
    bool strip_accents = true;
    bool lowercase = true;
  };
  explicit BertNormalizer(Options options) : options_(options) {}
  void normalize(AlignedText& text) const override;
  bool at_cut(CutPlace& place) const override;

 private:
  void run_steps(AlignedText& text) const;
  Options options_;
};

/// Replaces what a pattern matches.
class ReplaceNormalizer final : public Normalizer {
 public:
  ReplaceNormalizer(Regex regex, std::string content) : regex_(std::move(regex)), content_(std::move(content)) {}
  void normalize(AlignedText& text) const override;
  bool at_cut(CutPlace& place) const override;

 private:
  Regex regex_;
  std::string content_;
};

/// Puts a text before a text that isn't empty and continues no other.
class PrependNormalizer final : public Normalizer {
 public:
  explicit PrependNormalizer(std::string prefix) : prefix_(std::move(prefix)) {}
  void normalize(AlignedText& text) const override;
  bool at_cut(CutPlace& place) const override;

 private:
  std::string prefix_;
};

/// SentencePiece's nmt rules: controls go, odd white space becomes a space.
class NmtNormalizer final : public Normalizer {
 public:
  void normalize(AlignedText& text) const override;
  bool at_cut(CutPlace& place) const override;
};

/// Spells every byte as a character of the byte alphabet.
class ByteLevelNormalizer final : public Normalizer {
 public:
  void normalize(AlignedText& text) const override;
  bool at_cut(CutPlace& place) const override;
};

/// SentencePiece's precompiled rules: a double array (Darts) of strings and their replacements.
class PrecompiledNormalizer final : public Normalizer {
 public:
  /// Takes the decoded map: the array's size in bytes, the array, the replacements with a zero behind each. Throws
  /// std::string with what is wrong.
  explicit PrecompiledNormalizer(std::string_view map);
  void normalize(AlignedText& text) const override;
  bool at_cut(CutPlace& place) const override;

  /// Returns the length of the longest prefix of `text` that has a replacement, 0 where none has.
  std::size_t find_longest(std::string_view text, std::string_view& replacement) const;

 private:
  /// Returns the replacement of the shortest prefix of `text` that has one; false where none has.
  bool find(std::string_view text, std::string_view& replacement) const;
  /// Walks the array; calls found(length, replacement) for every prefix that has one, until that returns true.
  template <class Found>
  void walk(std::string_view text, Found&& found) const;

  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

}  // namespace mobula::text
