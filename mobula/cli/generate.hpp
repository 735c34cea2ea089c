/// Options of `mobula generate`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mobula::cli {

struct GenerateOptions {
  std::string model;
  std::optional<std::string> prompt;
  std::vector<std::int32_t> ids;      ///< instead of a prompt
  std::string input;                  ///< JSON lines {"prompt": ...}
  std::string output;                 ///< where the JSON objects go; empty: standard output
  std::vector<std::string> adapters;  ///< DIR or NAME=DIR; a single one is every prompt's
  std::string dtype;                  ///< empty: the checkpoint's own
  std::size_t max_tokens = 128;
  double temperature = 1.0;
  std::size_t top_k = 0;
  double top_p = 1.0;
  double min_p = 0.0;
  double typical_p = 1.0;
  double repetition_penalty = 1.0;
  double presence_penalty = 0.0;
  double frequency_penalty = 0.0;
  std::size_t no_repeat_ngram = 0;
  std::vector<std::string> logit_bias;  ///< ID=BIAS
  std::uint64_t seed = 0;
  std::size_t num_answers = 1;          ///< to each prompt; the i-th one's seed is seed + i
  std::size_t best_of = 0;              ///< so many are drawn, of which the likeliest are given; 0: num_answers
  std::optional<std::size_t> logprobs;  ///< give the tokens' logprobs and so many of the likeliest
  std::vector<std::string> stop;
  bool ignore_eos = false;
};

}  // namespace mobula::cli
