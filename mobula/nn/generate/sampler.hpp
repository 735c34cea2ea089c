/// Draws one request's tokens from the model's scores.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mobula/nn/generate/engine.hpp"

namespace mobula::nn {

/// Applies, in this order: logit bias; repetition penalty (Keskar et al. 2019, over prompt and continuation); presence and
/// frequency penalties (over the continuation); no-repeat n-gram; temperature; top-k; nucleus (Holtzman et al. 2020);
/// typical (Meister et al. 2022); min-p. The k-th token's random number depends on the seed and k only. Not thread-safe.
class Sampler {
 public:
  /// `options` are valid (SamplingOptions::validate).
  Sampler(SamplingOptions options, std::span<const TokenId> prompt);

  /// Returns the next token. All scores must be numbers, and one of them finite.
  TokenId sample(std::span<const float> logits);
  /// Tells the sampler what was taken; call it once a token.
  void accept(TokenId id);

  const SamplingOptions& options() const noexcept { return options_; }

 private:
  struct Candidate {
    float logit;
    TokenId id;
  };
  bool plain() const;
  void adjust(std::vector<float>& logits) const;
  void forbid_repeated_ngrams(std::vector<float>& logits) const;
  TokenId draw(std::vector<Candidate>& candidates);

  SamplingOptions options_;
  std::vector<TokenId> tokens_;  // prompt and continuation
  std::size_t num_prompt_;
  std::unordered_map<TokenId, std::uint32_t> counts_;  // of the continuation
  std::vector<float> adjusted_;
  std::vector<Candidate> candidates_;
  std::vector<double> weights_;
};

/// Returns the `count` likeliest tokens with their natural log-probabilities, likeliest first; `log_sum` is
/// log(sum(exp(logits))). Ties go to the smaller id.
std::vector<std::pair<TokenId, double>> top_logprobs(std::span<const float> logits, double log_sum, std::size_t count);

}  // namespace mobula::nn
