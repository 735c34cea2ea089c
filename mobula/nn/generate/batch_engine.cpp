#include "mobula/nn/generate/batch_engine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <mutex>
#include <optional>
#include <unordered_set>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/log.hpp"
#include "mobula/nn/decoder/decoder.hpp"
#include "mobula/nn/generate/sampler.hpp"

namespace mobula::nn {
namespace {

// Scores of a whole prompt are large; so many rows of them are made at once.
constexpr std::size_t kMaxScoredRows = 64;

class BatchEngine final : public GenerationEngine {
 public:
  BatchEngine(EngineInfo info, DecoderModel model, const EngineOptions& options)
      : options_(options),
        decoder_(std::in_place, std::move(model),
                 DecoderOptions{.quantize = options.quantize, .num_threads = options.num_threads}),
        info_(std::move(info)),
        block_bytes_(decoder_->layout().block_bytes()),
        max_blocks_(options.cache_bytes / block_bytes_) {
    for (const EngineAdapter& one : options.adapters) add_adapter(one);
    if (max_blocks_ == 0) {
      throw_invalid(fmt::format("cache_bytes {} hold no block of {} bytes", options.cache_bytes, block_bytes_));
    }
  }
  BatchEngine(EngineInfo info, ForwardRows forward, const EngineOptions& options)
      : options_(options), forward_(std::move(forward)), info_(std::move(info)) {
    options_.prefix_cache = false;
  }

  const EngineInfo& info() const override { return info_; }
  RequestId submit(GenerationRequest request) override;
  void cancel(RequestId id) override;
  bool step() override;
  std::size_t num_requests() const override;

 private:
  struct Request {
    Request(RequestId id, GenerationRequest&& request)
        : id(id),
          tokens(request.prompt),
          num_prompt(request.prompt.size()),
          sampler(request.sampling, request.prompt),
          on_token(std::move(request.on_token)) {}

    const SamplingOptions& sampling() const { return sampler.options(); }
    // Tells whether the scores of prompt tokens are still to be reported; a text that is read anew has done so.
    bool scores_prompt() const { return sampling().prompt_logprobs && !started; }

    RequestId id;
    std::vector<TokenId> tokens;  // prompt and continuation
    std::size_t num_prompt;
    std::size_t num_read = 0;        // tokens whose keys and values are in the cache
    std::size_t num_rows = 0;        // of this step
    std::size_t num_blocks = 0;      // reserved
    int adapter = -1;                // its number in the decoder; -1: none
    std::int64_t rotary_length = 0;  // under which the cache was filled; 0: not yet
    KvSequence sequence;
    Sampler sampler;
    std::function<bool(const TokenEvent&)> on_token;
    std::vector<double> prompt_logprobs;
    bool started = false;  // its first event is out
    bool finished = false;
  };

  void add_adapter(const EngineAdapter& one) {
    const auto same = [&](const EngineAdapter& other) { return other.name == one.name; };
    if (one.name.empty() || std::ranges::count_if(options_.adapters, same) != 1) {
      throw_invalid(fmt::format("the adapters' names must differ and not be empty: '{}'", one.name));
    }
    decoder_->add_adapter(*one.adapter);
    info_.adapters.push_back(one.name);
  }
  std::size_t blocks_for(const Request& request) const;
  static std::uint64_t prefix_kind(const Request& request) {
    return static_cast<std::uint64_t>(request.rotary_length) ^ static_cast<std::uint64_t>(request.adapter + 1) << 48;
  }
  /// Forgets a cache that was filled under other rotary angles than the text has at its present length.
  void check_rotation(Request& request) const;
  void take_cancelled();
  void admit();
  std::vector<DecoderRow> plan();
  void advance(std::span<const float> logits);
  /// Uses the scores of one row that this request wanted; `read` counts the tokens read with that row.
  void use_scores(Request& request, std::size_t read, std::span<const float> logits);
  void choose(Request& request, std::span<const float> logits);
  void finish(Request& request, FinishReason reason, std::string error = {});
  void emit(Request& request, TokenEvent event);
  void drop_finished();

  EngineOptions options_;
  std::optional<Decoder> decoder_;  // one of the two
  ForwardRows forward_;             // keeps nothing between steps
  EngineInfo info_;
  std::size_t block_bytes_ = 0;
  std::size_t max_blocks_ = std::numeric_limits<std::size_t>::max();
  std::size_t num_blocks_ = 0;  // reserved by running requests
  PrefixCache prefixes_;
  std::vector<std::unique_ptr<Request>> running_;  // step()'s thread only
  std::vector<Request*> planned_;                  // those of this step, in the order of their rows

  mutable std::mutex mutex_;
  std::deque<std::unique_ptr<Request>> queued_;
  std::unordered_set<RequestId> cancelled_;
  std::unordered_set<RequestId> known_;
  RequestId next_id_ = 1;
};

GenerationEngine::RequestId BatchEngine::submit(GenerationRequest request) {
  check_request(request, info_);
  const auto found = std::ranges::find(info_.adapters, request.adapter);
  const int adapter = found == info_.adapters.end() ? -1 : static_cast<int>(found - info_.adapters.begin());
  const std::lock_guard lock(mutex_);
  auto queued = std::make_unique<Request>(next_id_++, std::move(request));
  queued->adapter = adapter;
  if (blocks_for(*queued) > max_blocks_) {
    throw Error(ErrorCode::resource,
                fmt::format("{} tokens need {} MB of cache, there are {}", queued->tokens.size(),
                            blocks_for(*queued) * block_bytes_ >> 20, options_.cache_bytes >> 20),
                "shorten the prompt or max_tokens, or give the engine more cache_bytes");
  }
  const RequestId id = queued->id;
  known_.insert(id);
  queued_.push_back(std::move(queued));
  return id;
}

void BatchEngine::cancel(RequestId id) {
  const std::lock_guard lock(mutex_);
  if (known_.contains(id)) cancelled_.insert(id);
}

std::size_t BatchEngine::num_requests() const {
  const std::lock_guard lock(mutex_);
  return known_.size();
}

std::size_t BatchEngine::blocks_for(const Request& request) const {
  const std::size_t total =
      std::min(request.num_prompt + std::min(request.sampling().max_tokens, info_.context), info_.context);
  return (total + kKvBlock - 1) / kKvBlock;
}

void BatchEngine::check_rotation(Request& request) const {
  if (!decoder_) return;
  const std::int64_t length = decoder_->rotary_length(static_cast<std::int64_t>(request.tokens.size()));
  if (length == request.rotary_length) return;
  request.rotary_length = length;
  request.num_read = 0;
  request.sequence = {};
}

void BatchEngine::take_cancelled() {
  std::unordered_set<RequestId> ids;
  std::vector<std::unique_ptr<Request>> never_ran;
  {
    const std::lock_guard lock(mutex_);
    ids.swap(cancelled_);
    for (auto& request : queued_) {
      if (ids.contains(request->id)) never_ran.push_back(std::move(request));
    }
    std::erase(queued_, nullptr);
    for (const auto& request : never_ran) known_.erase(request->id);
  }
  for (const auto& request : never_ran) finish(*request, FinishReason::cancelled);
  for (const auto& request : running_) {
    if (ids.contains(request->id)) finish(*request, FinishReason::cancelled);
  }
  drop_finished();
}

void BatchEngine::admit() {
  const std::lock_guard lock(mutex_);
  while (!queued_.empty() && running_.size() < options_.max_batch) {
    Request& next = *queued_.front();
    const std::size_t blocks = blocks_for(next);
    if (num_blocks_ + blocks > max_blocks_) return;
    next.num_blocks = blocks;
    num_blocks_ += blocks;
    check_rotation(next);
    if (options_.prefix_cache && !next.sampling().prompt_logprobs) {
      // The last token is always read: its scores are what comes next.
      std::vector<KvBlock> shared =
          prefixes_.find(prefix_kind(next), std::span(next.tokens).first(next.tokens.size() - 1));
      next.num_read = shared.size() * kKvBlock;
      next.sequence.share(std::move(shared));
    }
    prefixes_.trim(max_blocks_ - num_blocks_);
    running_.push_back(std::move(queued_.front()));
    queued_.pop_front();
  }
}

std::vector<DecoderRow> BatchEngine::plan() {
  std::vector<DecoderRow> rows;
  std::size_t scored = 0;
  planned_.clear();
  const auto add = [&](Request& request, std::size_t count) {
    request.num_rows = count;
    planned_.push_back(&request);
    for (std::size_t i = request.num_read; i < request.num_read + count; ++i) {
      const bool last = i + 1 == request.tokens.size();
      const bool prompt_score = request.scores_prompt() && i < request.num_prompt;
      rows.push_back({.token = request.tokens[i],
                      .position = static_cast<std::int64_t>(i),
                      .sequence = &request.sequence,
                      .wants_logits = last || prompt_score,
                      .rotary_length = request.rotary_length,
                      .adapter = request.adapter,
                      .text = request.tokens});
      scored += prompt_score;
    }
  };
  // Requests that are writing go on at every step; prompts fill what is left of it.
  for (const auto& request : running_) {
    request->num_rows = 0;
    check_rotation(*request);
    if (request->num_read + 1 == request->tokens.size()) add(*request, 1);
  }
  for (const auto& request : running_) {
    if (request->num_rows > 0) continue;
    const std::size_t room = options_.max_step_tokens - std::min(options_.max_step_tokens, rows.size());
    std::size_t count = std::min(room, request->tokens.size() - request->num_read);
    if (request->scores_prompt()) count = std::min(count, kMaxScoredRows - std::min(kMaxScoredRows, scored));
    add(*request, count);
  }
  return rows;
}

bool BatchEngine::step() {
  take_cancelled();
  admit();
  if (running_.empty()) return false;
  const std::vector<DecoderRow> rows = plan();
  try {
    advance(decoder_ ? decoder_->forward(rows) : forward_(rows));
  } catch (const std::exception& error) {
    // The caches of this step's requests are in an unknown state.
    for (const auto& request : running_) {
      if (!request->finished) finish(*request, FinishReason::error, error.what());
    }
  }
  drop_finished();
  return true;
}

void BatchEngine::advance(std::span<const float> logits) {
  for (Request* request : planned_) {
    const std::size_t begin = request->num_read;
    request->num_read += request->num_rows;
    for (std::size_t i = begin; i < begin + request->num_rows && !request->finished; ++i) {
      const bool last = i + 1 == request->tokens.size();
      if (!last && !(request->scores_prompt() && i < request->num_prompt)) continue;
      use_scores(*request, i + 1, logits.first(info_.vocab_size));
      logits = logits.subspan(info_.vocab_size);
      if (last) break;  // the request may have grown by a token
    }
    if (options_.prefix_cache && request->num_rows > 0 && (request->finished || begin < request->num_prompt)) {
      prefixes_.insert(prefix_kind(*request), std::span(request->tokens).first(request->num_read),
                       request->sequence.block_list());
      prefixes_.trim(max_blocks_ - num_blocks_);
    }
  }
}

void BatchEngine::use_scores(Request& request, std::size_t read, std::span<const float> logits) {
  if (request.scores_prompt() && read <= request.num_prompt) {
    if (request.prompt_logprobs.empty()) request.prompt_logprobs.push_back(std::numeric_limits<double>::quiet_NaN());
    if (read < request.num_prompt) {
      const double log_sum = cpu_kernels().log_sum_exp(logits.data(), static_cast<std::int64_t>(logits.size()));
      request.prompt_logprobs.push_back(static_cast<double>(logits[request.tokens[read]]) - log_sum);
    }
  }
  if (read == request.tokens.size()) choose(request, logits);
}

void BatchEngine::choose(Request& request, std::span<const float> logits) {
  const SamplingOptions& sampling = request.sampling();
  if (sampling.max_tokens == 0) return finish(request, FinishReason::length);
  const double log_sum = cpu_kernels().log_sum_exp(logits.data(), static_cast<std::int64_t>(logits.size()));
  if (!std::isfinite(log_sum)) {
    return finish(request, FinishReason::error, "the model gave scores that are no finite numbers");
  }
  const TokenId id = request.sampler.sample(logits);
  if (!sampling.ignore_eos && std::ranges::find(info_.eos_ids, id) != info_.eos_ids.end()) {
    return finish(request, FinishReason::stop);
  }
  request.sampler.accept(id);
  request.tokens.push_back(id);
  const std::size_t written = request.tokens.size() - request.num_prompt;
  const bool full = written >= sampling.max_tokens || request.tokens.size() >= info_.context;
  TokenEvent event{.id = id, .logprob = static_cast<double>(logits[id]) - log_sum};
  if (sampling.logprobs > 0) event.top_logprobs = top_logprobs(logits, log_sum, sampling.logprobs);
  if (full) event.finish = FinishReason::length;
  emit(request, std::move(event));
}

void BatchEngine::finish(Request& request, FinishReason reason, std::string error) {
  emit(request, {.finish = reason, .error = std::move(error)});
}

void BatchEngine::emit(Request& request, TokenEvent event) {
  if (!request.started) event.prompt_logprobs = std::move(request.prompt_logprobs);
  request.started = true;
  request.finished = event.finish != FinishReason::none;
  const bool go_on = !request.on_token || request.on_token(event);
  if (!go_on && !request.finished) finish(request, FinishReason::stop);
}

void BatchEngine::drop_finished() {
  for (const auto& request : running_) {
    if (request->finished) num_blocks_ -= request->num_blocks;
  }
  const std::lock_guard lock(mutex_);
  for (const auto& request : running_) {
    if (request->finished) known_.erase(request->id);
  }
  std::erase_if(running_, [](const auto& request) { return request->finished; });
}

}  // namespace

void EngineOptions::validate() const {
  if (max_batch < 1) throw_invalid("max_batch is 0, expected at least 1");
  if (max_step_tokens < 1) throw_invalid("max_step_tokens is 0, expected at least 1");
  if (quantize && *quantize != WeightType::int8 && *quantize != WeightType::int4) {
    throw_invalid("quantize is no type of 8 or 4 bits", "use int8 or int4");
  }
}

std::unique_ptr<GenerationEngine> make_generation_engine(EngineInfo info, DecoderModel model,
                                                         const EngineOptions& options) {
  options.validate();
  return std::make_unique<BatchEngine>(std::move(info), std::move(model), options);
}

std::unique_ptr<GenerationEngine> make_generation_engine(EngineInfo info, ForwardRows forward,
                                                         const EngineOptions& options) {
  options.validate();
  if (options.quantize || !options.adapters.empty()) {
    throw Error(ErrorCode::unsupported,
                "a model that the decoder's kernels don't run takes no adapters and no fewer bits");
  }
  return std::make_unique<BatchEngine>(std::move(info), std::move(forward), options);
}

}  // namespace mobula::nn
