/// The byte-level pre-tokenizer of GPT-2: GPT-2's split pattern, then every byte spelt as one printable
/// character.
#pragma once

#include "mobula/text/pre_tokenizers/pre_tokenizer.hpp"

namespace mobula::text {

class ByteLevelPreTokenizer final : public PreTokenizer {
 public:
  ByteLevelPreTokenizer(bool add_prefix_space, bool use_regex)
      : add_prefix_space_(add_prefix_space), use_regex_(use_regex) {}

  /// Tells whether this step cuts nothing and puts nothing before a text.
  bool only_spells() const { return !add_prefix_space_ && !use_regex_; }
  /// Leaves the spelling out: the model takes raw bytes.
  void keep_raw_bytes() { raw_bytes_ = true; }
  void apply(PieceList& list) const override;
  CutEffect at_cut(CutPlace& place) const override;

 private:
  bool add_prefix_space_;
  bool use_regex_;
  bool raw_bytes_ = false;
};

}  // namespace mobula::text
