#include "mobula/serve/text_generator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/log.hpp"
#include "mobula/serve/stop_matcher.hpp"

namespace mobula::serve {

/// The state of one request; but for `engine_id`, touched by the engine's thread alone once submitted.
struct TextGenerator::Continuation {
  Continuation(RequestId id, std::shared_ptr<const text::Tokenizer> tokenizer, TextRequest& request)
      : id(id),
        scores_only(request.sampling.max_tokens == 0),
        decoder(std::move(tokenizer)),
        stops(std::move(request.stop)),
        on_event(std::move(request.on_event)) {}

  const RequestId id;
  const bool scores_only;
  std::atomic<nn::GenerationEngine::RequestId> engine_id{0};
  text::StreamDecoder decoder;
  StopMatcher stops;
  std::function<void(TextEvent)> on_event;
  std::vector<GeneratedToken> waiting;  // tokens whose text has not been shown yet
  std::vector<double> prompt_logprobs;
  std::size_t num_tokens = 0;
  std::size_t decoded_bytes = 0;
  std::size_t shown_bytes = 0;
  bool ended = false;
};

TextGenerator::TextGenerator(std::unique_ptr<nn::GenerationEngine> engine,
                             std::shared_ptr<const text::Tokenizer> tokenizer, TextGeneratorOptions options)
    : engine_(std::move(engine)), tokenizer_(std::move(tokenizer)), options_(options), thread_([this] { work(); }) {}

TextGenerator::~TextGenerator() {
  stopping_ = true;
  {
    const std::lock_guard lock(mutex_);
    woken_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

TextGenerator::RequestId TextGenerator::submit(TextRequest request) {
  const std::size_t context = info().context;
  const std::size_t length = request.prompt.size();
  if (length == 0) throw_invalid("the prompt has no tokens");
  if (length > context || (length == context && request.sampling.max_tokens > 0)) {
    throw_invalid(fmt::format("the prompt has {} tokens; the model's context of {} leaves no room for an answer",
                              length, context),
                  "shorten the prompt");
  }
  std::shared_ptr<Continuation> continuation;
  {
    const std::lock_guard lock(mutex_);
    if (failed_) {
      throw Error(ErrorCode::unavailable, "the model's engine has failed", "the log says why; start it again");
    }
    if (active_.size() >= options_.max_requests) {
      throw Error(ErrorCode::resource, fmt::format("{} requests are waiting already", active_.size()),
                  "try again later");
    }
    continuation = std::make_shared<Continuation>(next_id_++, tokenizer_, request);
    active_.emplace(continuation->id, continuation);
  }
  request.sampling.max_tokens =
      std::clamp<std::size_t>(request.sampling.max_tokens, 1, std::max<std::size_t>(context - length, 1));
  try {
    continuation->engine_id = engine_->submit(
        {.prompt = std::move(request.prompt),
         .sampling = std::move(request.sampling),
         .adapter = std::move(request.adapter),
         .on_token = [this, continuation](const nn::TokenEvent& event) { return advance(*continuation, event); }});
  } catch (...) {
    const std::lock_guard lock(mutex_);
    active_.erase(continuation->id);
    throw;
  }
  ++num_submitted_;
  num_prompt_tokens_ += length;
  {
    const std::lock_guard lock(mutex_);
    woken_ = true;
  }
  wake_.notify_one();
  return continuation->id;
}

void TextGenerator::cancel(RequestId id) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = active_.find(id);
    if (found == active_.end()) return;
    engine_->cancel(found->second->engine_id);
    woken_ = true;
  }
  ++num_cancelled_;
  wake_.notify_one();
}

std::size_t TextGenerator::num_requests() const {
  const std::lock_guard lock(mutex_);
  return active_.size();
}

TextGeneratorCounts TextGenerator::counts() const {
  return {.num_requests = num_submitted_,
          .num_prompt_tokens = num_prompt_tokens_,
          .num_generated_tokens = num_generated_tokens_,
          .num_cancelled = num_cancelled_};
}

void TextGenerator::work() {
  while (!stopping_) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return woken_; });
      woken_ = false;
    }
    try {
      while (!stopping_ && engine_->step()) {
      }
    } catch (const std::exception& error) {
      log_error("the model's engine failed: {}", error.what());
      fail(error.what());
      return;
    }
  }
  fail("");
}

// Ends all requests: cancelled where there is no reason to report.
void TextGenerator::fail(const std::string& reason) {
  std::map<RequestId, std::shared_ptr<Continuation>> left;
  {
    const std::lock_guard lock(mutex_);
    failed_ = true;
    left = active_;
  }
  for (const auto& [id, continuation] : left) {
    TextEvent event;
    event.error = reason;
    end(*continuation, reason.empty() ? nn::FinishReason::cancelled : nn::FinishReason::error, std::move(event));
  }
}

bool TextGenerator::advance(Continuation& continuation, const nn::TokenEvent& token) {
  if (continuation.ended) return false;
  TextEvent event;
  event.prompt_logprobs = token.prompt_logprobs;
  event.error = token.error;
  if (continuation.scores_only && token.finish != nn::FinishReason::error) {
    end(continuation, nn::FinishReason::length, std::move(event));
    return false;
  }
  if (token.id >= 0) {
    ++continuation.num_tokens;
    ++num_generated_tokens_;
    continuation.waiting.push_back({token.id, token.logprob, token.top_logprobs, continuation.decoded_bytes});
    const std::string text = continuation.decoder.push(token.id);
    continuation.decoded_bytes += text.size();
    event.text = continuation.stops.push(text);
  }
  if (continuation.stops.stopped()) {
    end(continuation, nn::FinishReason::stop, std::move(event));
    return false;
  }
  if (token.finish != nn::FinishReason::none) {
    event.text += continuation.stops.push(continuation.decoder.finish());
    const bool stopped = continuation.stops.stopped();
    if (!stopped) event.text += continuation.stops.finish();
    end(continuation, stopped ? nn::FinishReason::stop : token.finish, std::move(event));
    return false;
  }
  continuation.shown_bytes += event.text.size();
  const auto shown = std::find_if(continuation.waiting.begin(), continuation.waiting.end(),
                                  [&](const auto& waiting) { return waiting.offset >= continuation.shown_bytes; });
  event.tokens.assign(std::make_move_iterator(continuation.waiting.begin()), std::make_move_iterator(shown));
  continuation.waiting.erase(continuation.waiting.begin(), shown);
  event.num_tokens = continuation.num_tokens;
  if (!event.text.empty() || !event.tokens.empty() || !event.prompt_logprobs.empty()) {
    continuation.on_event(std::move(event));
  }
  return true;
}

void TextGenerator::end(Continuation& continuation, nn::FinishReason reason, TextEvent event) {
  if (std::exchange(continuation.ended, true)) return;
  continuation.shown_bytes += event.text.size();
  event.tokens = std::move(continuation.waiting);
  if (continuation.stops.stopped()) {
    std::erase_if(event.tokens, [&](const auto& token) { return token.offset >= continuation.shown_bytes; });
  }
  event.finish = reason;
  event.num_tokens = continuation.num_tokens;
  {
    const std::lock_guard lock(mutex_);
    active_.erase(continuation.id);
  }
  continuation.on_event(std::move(event));
  continuation.on_event = nullptr;
}

}  // namespace mobula::serve
