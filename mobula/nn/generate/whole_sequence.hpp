/// Next-token scores of models that the decoder's kernels don't run: the whole sequence is read at each step, without a
/// key-value cache.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "mobula/nn/causal_lm.hpp"
#include "mobula/nn/decoder/decoder.hpp"

namespace mobula::nn {

/// Gives the scores that CausalLm::logits gives for the text so far. Not thread-safe.
class WholeSequenceDecoder {
 public:
  explicit WholeSequenceDecoder(std::shared_ptr<CausalLm> model) : model_(std::move(model)) {}

  /// Returns what Decoder::forward returns, reading each row's `text`; rows of one text stand together.
  std::span<const float> forward(std::span<const DecoderRow> rows);

 private:
  std::shared_ptr<CausalLm> model_;
  std::vector<float> logits_;
};

}  // namespace mobula::nn
