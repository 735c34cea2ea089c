#include "mobula/serve/openai/generation_job.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "mobula/serve/openai/api_error.hpp"

namespace mobula::serve::openai {
namespace {

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char byte) { return (byte & 0xc0) != 0x80; }));
}

}  // namespace

GenerationJob::GenerationJob(std::shared_ptr<http::Exchange> exchange, TextGenerator& generator, Metrics& metrics,
                             std::unique_ptr<AnswerFormat> format, JobOptions options)
    : exchange_(std::move(exchange)),
      generator_(generator),
      metrics_(metrics),
      format_(std::move(format)),
      options_(std::move(options)),
      candidates_(options_.prompts.size() * options_.num_candidates) {}

void GenerationJob::start() {
  exchange_->on_disconnect([weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self) return;
    ++self->metrics_.num_disconnects;
    self->cancel();
  });
  try {
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      const JobPrompt& prompt = options_.prompts[i / options_.num_candidates];
      candidates_[i].part.index = i;
      TextRequest request{
          .prompt = prompt.ids,
          .sampling = options_.sampling,
          .stop = options_.stop,
          .adapter = options_.adapter,
          .on_event = [self = shared_from_this(), i](TextEvent event) { self->receive(i, std::move(event)); }};
      request.sampling.seed = options_.seed + i;
      const auto id = generator_.submit(std::move(request));
      const std::lock_guard lock(mutex_);
      requests_.push_back(id);
    }
  } catch (...) {
    over_ = true;
    cancel();
    throw;
  }
  bool gone = false;
  {
    const std::lock_guard lock(mutex_);
    ready_ = true;
    posted_ = true;
    gone = cancelled_;
  }
  if (gone) cancel();  // the client left between two submissions
  exchange_->post([self = shared_from_this()] { self->process(); });
}

void GenerationJob::receive(std::size_t candidate, TextEvent event) {
  {
    const std::lock_guard lock(mutex_);
    mailbox_.emplace_back(candidate, std::move(event));
    if (!ready_ || posted_) return;
    posted_ = true;
  }
  exchange_->post([self = shared_from_this()] { self->process(); });
}

void GenerationJob::process() {
  std::vector<std::pair<std::size_t, TextEvent>> events;
  {
    const std::lock_guard lock(mutex_);
    events.swap(mailbox_);
    posted_ = false;
  }
  if (over_ || events.empty()) return;
  if (!first_token_seen_) {
    first_token_seen_ = true;
    metrics_.first_token_seconds.add(std::chrono::steady_clock::now() - arrival_);
  }
  std::vector<std::size_t> touched;
  for (auto& [i, event] : events) {
    if (event.finish == nn::FinishReason::error || event.finish == nn::FinishReason::cancelled) {
      break_off(event);
      return;
    }
    Candidate& candidate = candidates_[i];
    if (candidate.ended) continue;
    add(candidate, options_.prompts[i / options_.num_candidates], event);
    if (candidate.ended) ++num_ended_;
    if (std::find(touched.begin(), touched.end(), i) == touched.end()) touched.push_back(i);
  }
  if (options_.stream) {
    for (const std::size_t i : touched) stream_part(i);
  }
  if (num_ended_ == candidates_.size()) finish();
}

void GenerationJob::add(Candidate& candidate, const JobPrompt& prompt, TextEvent& event) {
  if (!candidate.opened) {
    candidate.opened = true;
    if (options_.echo) add_prompt(candidate, prompt, event.prompt_logprobs);
  }
  for (const GeneratedToken& token : event.tokens) {
    if (std::isfinite(token.logprob)) candidate.sum_logprobs += token.logprob;
  }
  if (format_->logprobs()) {
    // Offsets are counted in characters; the text is walked once.
    candidate.counted_text += event.text;
    for (GeneratedToken& token : event.tokens) {
      const std::size_t ahead =
          std::min(token.offset - std::min(token.offset, candidate.text_bytes), candidate.counted_text.size());
      candidate.text_characters += count_characters(std::string_view(candidate.counted_text).substr(0, ahead));
      candidate.text_bytes += ahead;
      candidate.counted_text.erase(0, ahead);
      ScoredToken scored{.bytes = bytes_of(token.id), .logprob = token.logprob, .offset = candidate.text_characters};
      for (const auto& [id, logprob] : token.top_logprobs) scored.alternatives.emplace_back(bytes_of(id), logprob);
      candidate.part.tokens.push_back(std::move(scored));
    }
  }
  candidate.part.text += event.text;
  candidate.num_tokens = event.num_tokens;
  candidate.part.finish = event.finish;
  candidate.ended = event.finish != nn::FinishReason::none;
}

void GenerationJob::add_prompt(Candidate& candidate, const JobPrompt& prompt, const std::vector<double>& logprobs) {
  candidate.part.text += prompt.echo;
  if (!format_->logprobs()) return;
  const std::size_t num_characters = count_characters(prompt.echo);
  text::StreamDecoder decoder(generator_.shared_tokenizer(), prompt.echoes_text);
  std::size_t offset = 0;
  for (std::size_t i = 0; i < prompt.ids.size(); ++i) {
    candidate.part.tokens.push_back({.bytes = bytes_of(prompt.ids[i]),
                                     .logprob = i < logprobs.size() ? logprobs[i] : std::nan(""),
                                     .offset = std::min(offset, num_characters)});
    offset += count_characters(decoder.push(prompt.ids[i]));
  }
  candidate.text_characters = num_characters;
}

void GenerationJob::stream_part(std::size_t i) {
  Candidate& candidate = candidates_[i];
  std::string events;
  if (!streaming_) {
    streaming_ = true;
    exchange_->start_stream({.content_type = "text/event-stream; charset=utf-8",
                             .headers = {{"Cache-Control", "no-cache"}, {"X-Request-Id", format_->id()}}});
    for (std::size_t k = 0; k < candidates_.size(); ++k) events += format_->opening(k, options_.include_usage);
  }
  // The last piece of text and the reason for the end travel in chunks of their own: some clients drop the text of a chunk
  // that holds a reason.
  const auto reason = std::exchange(candidate.part.finish, nn::FinishReason::none);
  if (!candidate.part.text.empty() || !candidate.part.tokens.empty()) {
    events += format_->chunk(candidate.part, options_.include_usage);
    candidate.part.text.clear();
    candidate.part.tokens.clear();
  }
  if (reason != nn::FinishReason::none) {
    candidate.part.finish = reason;
    events += format_->chunk(candidate.part, options_.include_usage);
  }
  exchange_->write(events);
}

void GenerationJob::finish() {
  over_ = true;
  if (options_.stream) {
    std::string events;
    if (options_.include_usage) events += format_->usage_chunk(usage());
    exchange_->write(events + server_sent_event("[DONE]"));
    exchange_->finish();
    record(200);
    return;
  }
  std::vector<AnswerPart> answers;
  for (std::size_t first = 0; first < candidates_.size(); first += options_.num_candidates) {
    std::vector<Candidate*> best;
    for (std::size_t i = 0; i < options_.num_candidates; ++i) best.push_back(&candidates_[first + i]);
    if (options_.num_candidates > options_.num_choices) {
      const auto score = [](const Candidate* one) {
        return one->num_tokens == 0 ? 0 : one->sum_logprobs / static_cast<double>(one->num_tokens);
      };
      std::stable_sort(best.begin(), best.end(), [&](auto* left, auto* right) { return score(left) > score(right); });
    }
    for (std::size_t i = 0; i < options_.num_choices; ++i) {
      answers.push_back(std::move(best[i]->part));
      answers.back().index = answers.size() - 1;
    }
  }
  exchange_->respond({.body = format_->whole(answers, usage()), .headers = {{"X-Request-Id", format_->id()}}});
  record(200);
}

void GenerationJob::break_off(const TextEvent& event) {
  over_ = true;
  cancel();
  const bool stopped = event.finish == nn::FinishReason::cancelled;
  const ApiError error(stopped ? 503 : 500,
                       stopped ? "the server is shutting down" : "the model failed; the server's log says more");
  if (streaming_) {
    exchange_->write(server_sent_event(error.body()));
    exchange_->finish();
  } else {
    exchange_->respond(error.to_response());
  }
  record(error.status());
}

void GenerationJob::cancel() {
  std::vector<TextGenerator::RequestId> requests;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    requests = requests_;
  }
  for (const auto request : requests) generator_.cancel(request);
}

void GenerationJob::record(int status) {
  metrics_.count_request(options_.route, status);
  metrics_.request_seconds.add(std::chrono::steady_clock::now() - arrival_);
}

Usage GenerationJob::usage() const {
  Usage usage;
  for (const JobPrompt& prompt : options_.prompts) usage.prompt_tokens += prompt.ids.size();
  for (const Candidate& candidate : candidates_) usage.completion_tokens += candidate.num_tokens;
  return usage;
}

std::string GenerationJob::bytes_of(TokenId id) const {
  const text::Tokenizer& tokenizer = generator_.tokenizer();
  // A model whose table is padded to a round number scores ids that no token has.
  if (static_cast<std::size_t>(id) >= tokenizer.vocab_size()) return {};
  return tokenizer.token_bytes(id);
}

}  // namespace mobula::serve::openai
