/// Text in, text out: a tokenizer, a generation engine on a thread of its own, and stop strings; no HTTP.
///
///     serve::TextGenerator generator(std::move(engine), tokenizer);
///     generator.submit({.prompt = generator.tokenizer().encode("To be"),
///                       .sampling = {.max_tokens = 40},
///                       .stop = {"\n"},
///                       .on_event = [](serve::TextEvent event) { fmt::print("{}", event.text); }});
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "mobula/nn/generate/engine.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::serve {

using text::TokenId;

/// A token of a continuation.
struct GeneratedToken {
  TokenId id = 0;
  double logprob = 0;
  std::vector<std::pair<TokenId, double>> top_logprobs;  ///< the likeliest first, where asked for
  std::size_t offset = 0;                                ///< bytes of the continuation's text before it
};

/// What became certain of a continuation since the last event. The last event of a request has `finish` set.
struct TextEvent {
  std::string text;                     ///< whole characters; never a part of a stop string
  std::vector<GeneratedToken> tokens;   ///< those that `text` begins or holds; none that only belong to a stop string
  std::vector<double> prompt_logprobs;  ///< on the first event, where asked for; the first token's is NaN
  nn::FinishReason finish = nn::FinishReason::none;
  std::size_t num_tokens = 0;  ///< generated so far, those of a stop string included
  std::string error;           ///< where finish is error
};

struct TextRequest {
  std::vector<TokenId> prompt;
  /// `max_tokens` beyond the context's room are cut to it. 0 only scores the prompt.
  nn::SamplingOptions sampling;
  std::vector<std::string> stop;
  std::string adapter;  ///< one of info().adapters; empty: the model as it is
  /// Called in order, on the engine's thread; must not block or throw.
  std::function<void(TextEvent)> on_event;
};

struct TextGeneratorOptions {
  std::size_t max_requests = 512;  ///< running and queued; beyond, submit() refuses
};

/// What a generator has done since it was made.
struct TextGeneratorCounts {
  std::uint64_t num_requests = 0;
  std::uint64_t num_prompt_tokens = 0;
  std::uint64_t num_generated_tokens = 0;
  std::uint64_t num_cancelled = 0;
};

/// The generator. Thread-safe.
class TextGenerator {
 public:
  using RequestId = std::uint64_t;

  TextGenerator(std::unique_ptr<nn::GenerationEngine> engine, std::shared_ptr<const text::Tokenizer> tokenizer,
                TextGeneratorOptions options = {});
  TextGenerator(const TextGenerator&) = delete;
  TextGenerator& operator=(const TextGenerator&) = delete;
  /// Ends every request as cancelled and joins the engine's thread.
  ~TextGenerator();

  /// Queues a request. Throws Error(invalid_argument) for a prompt that is empty, over the context or outside the
  /// vocabulary, Error(resource) where too many wait already, Error(unavailable) where the engine has failed.
  RequestId submit(TextRequest request);
  /// Ends a request early; it still gets a last event. Unknown ids are ignored.
  void cancel(RequestId id);

  const nn::EngineInfo& info() const { return engine_->info(); }
  const text::Tokenizer& tokenizer() const { return *tokenizer_; }
  const std::shared_ptr<const text::Tokenizer>& shared_tokenizer() const { return tokenizer_; }
  std::size_t num_requests() const;
  TextGeneratorCounts counts() const;
  /// Returns false once the engine has thrown: every later request is refused.
  bool is_healthy() const { return !failed_; }

 private:
  struct Continuation;

  void work();
  void fail(const std::string& reason);
  bool advance(Continuation& continuation, const nn::TokenEvent& event);
  void end(Continuation& continuation, nn::FinishReason reason, TextEvent event);

  std::unique_ptr<nn::GenerationEngine> engine_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  TextGeneratorOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::map<RequestId, std::shared_ptr<Continuation>> active_;
  RequestId next_id_ = 1;
  bool woken_ = false;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> failed_{false};
  std::atomic<std::uint64_t> num_submitted_{0}, num_prompt_tokens_{0}, num_generated_tokens_{0}, num_cancelled_{0};
  std::thread thread_;
};

}  // namespace mobula::serve
