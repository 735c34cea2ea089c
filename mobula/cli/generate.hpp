/// Options of `mobula generate`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mobula::cli {

/// What --max-tokens is where neither the user nor the checkpoint says it.
inline constexpr std::size_t kDefaultMaxTokens = 128;

struct GenerateOptions {
  std::string model;
  std::optional<std::string> prompt;
  std::string messages;                    ///< file of a conversation to answer, instead of a prompt
  std::string tools;                       ///< file of what answers to conversations may call
  std::vector<std::int32_t> ids;           ///< instead of a prompt
  std::string input;                       ///< JSON lines {"prompt": ...}
  std::string output;                      ///< where the JSON objects go; empty: standard output
  std::vector<std::string> adapters;       ///< DIR or NAME=DIR; a single one is every prompt's
  std::string dtype;                       ///< empty: the checkpoint's own
  std::string generation_config = "auto";  ///< where defaults of sampling come from; see load_sampling_defaults
  std::optional<std::size_t> max_tokens;   ///< else the checkpoint's, else kDefaultMaxTokens
  std::optional<double> temperature;
  std::optional<std::size_t> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> typical_p;
  std::optional<double> repetition_penalty;
  double presence_penalty = 0.0;
  double frequency_penalty = 0.0;
  std::optional<std::size_t> no_repeat_ngram;
  std::vector<std::string> logit_bias;  ///< ID=BIAS
  std::uint64_t seed = 0;
  std::size_t num_answers = 1;          ///< to each prompt; the i-th one's seed is seed + i
  std::size_t best_of = 0;              ///< so many are drawn, of which the likeliest are given; 0: num_answers
  std::optional<std::size_t> logprobs;  ///< give the tokens' logprobs and so many of the likeliest
  std::vector<std::string> stop;
  bool ignore_eos = false;
};

}  // namespace mobula::cli
