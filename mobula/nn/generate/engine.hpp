/// The generation engine without HTTP and without torch in its interface: requests join and leave at any step.
///
///     engine->submit({.prompt = ids, .sampling = {.max_tokens = 32}, .on_token = [&](const TokenEvent& event) {...}});
///     while (engine->step()) {}
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mobula::nn {

using TokenId = std::int32_t;

/// How a request's tokens are drawn. Defaults are those of OpenAI's API.
struct SamplingOptions {
  std::size_t max_tokens = 16;
  double temperature = 1.0;  ///< 0 is greedy
  std::size_t top_k = 0;     ///< 0 keeps all
  double top_p = 1.0;
  double min_p = 0.0;
  double typical_p = 1.0;
  double repetition_penalty = 1.0;
  double presence_penalty = 0.0;
  double frequency_penalty = 0.0;
  std::size_t no_repeat_ngram = 0;  ///< 0 allows all
  std::vector<std::pair<TokenId, double>> logit_bias;
  std::uint64_t seed = 0;
  bool ignore_eos = false;
  std::size_t logprobs = 0;  ///< how many of the likeliest tokens to report beside the chosen one
  bool prompt_logprobs = false;

  /// Throws Error(invalid_argument) naming the field that is out of range.
  void validate() const;
};

/// How a checkpoint's makers would have it sampled. What a user says goes before it.
struct SamplingDefaults {
  SamplingOptions sampling;               ///< its max_tokens doesn't count
  std::optional<std::size_t> max_tokens;  ///< absent: the caller's own default
};

enum class FinishReason { none, stop, length, cancelled, error };
std::string_view to_string(FinishReason reason);

/// One token of one request, in order. The last event of a request has `finish` set; `id` is -1 where an end-of-text
/// token, a cancellation or an error ended it without a token to show.
struct TokenEvent {
  TokenId id = -1;
  double logprob = 0;
  std::vector<std::pair<TokenId, double>> top_logprobs;
  std::vector<double> prompt_logprobs;  ///< on the first event, where asked for; the first token's is NaN
  FinishReason finish = FinishReason::none;
  std::string error;
};

struct GenerationRequest {
  std::vector<TokenId> prompt;
  SamplingOptions sampling;
  std::string adapter;  ///< one of EngineInfo::adapters; empty: the model as it is
  /// Called on the engine's thread for each token; returning false ends the request with FinishReason::stop (how stop
  /// strings are done). Must not block or throw.
  std::function<bool(const TokenEvent&)> on_token;
};

/// What a caller needs to know of the model behind an engine.
struct EngineInfo {
  std::string family;
  std::size_t vocab_size = 0;
  std::size_t context = 0;  ///< tokens of prompt and continuation together
  std::vector<TokenId> eos_ids;
  std::vector<std::string> adapters;  ///< names that requests may give
  bool continues_prompt = true;       ///< false: an encoder reads the prompt, and the answer stands by itself
};

/// Throws Error(invalid_argument) for what no engine of such a model can run: an empty prompt, ids outside the vocabulary,
/// a prompt that leaves no room in the context, an adapter that isn't there, bad sampling options.
void check_request(const GenerationRequest& request, const EngineInfo& info);

/// Runs many requests on one model. submit() and cancel() are thread-safe; step() belongs to one thread at a time.
class GenerationEngine {
 public:
  using RequestId = std::uint64_t;
  virtual ~GenerationEngine() = default;

  virtual const EngineInfo& info() const = 0;
  /// Queues a request. Throws what check_request() throws, and Error(unsupported) for what the model can't do.
  virtual RequestId submit(GenerationRequest request) = 0;
  /// Ends a request with FinishReason::cancelled at the next step; unknown ids are ignored.
  virtual void cancel(RequestId id) = 0;
  /// Advances every running request by one token, admitting queued ones. Returns false when there was nothing to do.
  virtual bool step() = 0;
  /// Returns the number of requests queued and running.
  virtual std::size_t num_requests() const = 0;
};

}  // namespace mobula::nn
