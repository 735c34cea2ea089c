#include "mobula/models/t5/engine.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <mutex>
#include <span>
#include <unordered_set>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/nn/decoder/cpu_kernels.hpp"
#include "mobula/nn/generate/sampler.hpp"

namespace mobula::models {
namespace {

using nn::FinishReason;
using nn::TokenEvent;
using nn::TokenId;

class T5Engine final : public nn::GenerationEngine {
 public:
  T5Engine(std::shared_ptr<T5> model, const T5EngineOptions& options) : model_(std::move(model)), options_(options) {
    const T5Config& config = model_->description();
    info_ = {.family = "t5",
             .vocab_size = static_cast<std::size_t>(config.vocab_size),
             .context = options.max_tokens,
             .eos_ids = {config.eos_ids.begin(), config.eos_ids.end()},
             .continues_prompt = false};
    for (const T5Adapter& one : options_.adapters) {
      if (one.name.empty() || std::ranges::find(info_.adapters, one.name) != info_.adapters.end()) {
        throw_invalid(fmt::format("the adapters' names must differ and not be empty: '{}'", one.name));
      }
      info_.adapters.push_back(one.name);
    }
  }

  const nn::EngineInfo& info() const override { return info_; }

  RequestId submit(nn::GenerationRequest request) override {
    nn::check_request(request, info_);
    if (request.sampling.prompt_logprobs) {
      throw Error(ErrorCode::unsupported, "T5's encoder gives the prompt's tokens no probabilities");
    }
    const std::lock_guard lock(mutex_);
    const RequestId id = next_id_++;
    known_.insert(id);
    queued_.push_back(std::make_unique<Request>(id, std::move(request), model_of(request.adapter)));
    return id;
  }

  void cancel(RequestId id) override {
    const std::lock_guard lock(mutex_);
    if (known_.contains(id)) cancelled_.insert(id);
  }

  std::size_t num_requests() const override {
    const std::lock_guard lock(mutex_);
    return known_.size();
  }

  bool step() override {
    admit();
    if (running_.empty()) return false;
    const at::NoGradGuard no_grad;
    for (const auto& request : running_) {
      if (request->finished) continue;
      try {
        advance(*request);
      } catch (const std::exception& error) {
        emit(*request, {.finish = FinishReason::error, .error = error.what()});
      }
    }
    drop_finished();
    return true;
  }

 private:
  struct Request {
    Request(RequestId id, nn::GenerationRequest&& request, T5& model)
        : id(id),
          model(model),
          prompt(request.prompt.begin(), request.prompt.end()),
          last(static_cast<TokenId>(model.description().decoder_start_id)),
          sampler(request.sampling, std::span(&last, 1)),
          on_token(std::move(request.on_token)) {}

    RequestId id;
    T5& model;
    std::vector<std::int64_t> prompt;
    TokenId last;  // what the decoder reads next
    nn::Sampler sampler;
    std::function<bool(const TokenEvent&)> on_token;
    T5Cache cache;
    bool finished = false;
  };

  T5& model_of(const std::string& adapter) const {
    const auto found = std::ranges::find(options_.adapters, adapter, &T5Adapter::name);
    return found == options_.adapters.end() ? *model_ : *found->model;
  }

  // Takes what waits and ends what was cancelled.
  void admit() {
    std::vector<std::unique_ptr<Request>> never_ran;
    {
      const std::lock_guard lock(mutex_);
      for (auto& request : queued_) {
        if (cancelled_.contains(request->id)) never_ran.push_back(std::move(request));
      }
      std::erase(queued_, nullptr);
      while (!queued_.empty() && running_.size() < options_.max_batch) {
        running_.push_back(std::move(queued_.front()));
        queued_.pop_front();
      }
      for (const auto& request : running_) request->finished = cancelled_.contains(request->id);
      cancelled_.clear();
      for (const auto& request : never_ran) known_.erase(request->id);
    }
    for (const auto& request : never_ran) emit(*request, {.finish = FinishReason::cancelled});
    for (const auto& request : running_) {
      if (request->finished) emit(*request, {.finish = FinishReason::cancelled});
    }
    drop_finished();
  }

  void advance(Request& request) {
    const nn::SamplingOptions& sampling = request.sampler.options();
    if (sampling.max_tokens == 0) return emit(request, {.finish = FinishReason::length});
    if (request.cache.blocks.empty()) {
      request.cache =
          request.model.begin(request.model.encode(at::tensor(request.prompt, at::kLong).unsqueeze(0), {}), {});
    }
    const at::Tensor ids = at::tensor({static_cast<std::int64_t>(request.last)}, at::kLong).unsqueeze(0);
    const at::Tensor scores = request.model.advance(request.cache, ids).view({-1}).to(at::kFloat).contiguous();
    const std::span logits(scores.const_data_ptr<float>(), info_.vocab_size);
    const double log_sum = nn::cpu_kernels().log_sum_exp(logits.data(), scores.numel());
    if (!std::isfinite(log_sum)) {
      return emit(request,
                  {.finish = FinishReason::error, .error = "the model gave scores that are no finite numbers"});
    }
    const TokenId id = request.sampler.sample(logits);
    if (!sampling.ignore_eos && std::ranges::find(info_.eos_ids, id) != info_.eos_ids.end()) {
      return emit(request, {.finish = FinishReason::stop});
    }
    request.sampler.accept(id);
    request.last = id;
    const auto written = static_cast<std::size_t>(request.cache.num_tokens);
    TokenEvent event{.id = id, .logprob = static_cast<double>(logits[static_cast<std::size_t>(id)]) - log_sum};
    if (sampling.logprobs > 0) event.top_logprobs = nn::top_logprobs(logits, log_sum, sampling.logprobs);
    if (written >= sampling.max_tokens || request.prompt.size() + written >= info_.context) {
      event.finish = FinishReason::length;
    }
    emit(request, std::move(event));
  }

  static void emit(Request& request, TokenEvent event) {
    request.finished = event.finish != FinishReason::none;
    const bool go_on = !request.on_token || request.on_token(event);
    if (!go_on && !request.finished) emit(request, {.finish = FinishReason::stop});
  }

  void drop_finished() {
    const std::lock_guard lock(mutex_);
    std::erase_if(running_, [&](const auto& request) {
      if (request->finished) known_.erase(request->id);
      return request->finished;
    });
  }

  std::shared_ptr<T5> model_;
  T5EngineOptions options_;
  nn::EngineInfo info_;
  std::vector<std::unique_ptr<Request>> running_;  // step()'s thread only

  mutable std::mutex mutex_;
  std::deque<std::unique_ptr<Request>> queued_;
  std::unordered_set<RequestId> cancelled_;
  std::unordered_set<RequestId> known_;
  RequestId next_id_ = 1;
};

}  // namespace

std::unique_ptr<nn::GenerationEngine> make_t5_engine(std::shared_ptr<T5> model, const T5EngineOptions& options) {
  if (options.max_batch < 1) throw_invalid("max_batch is 0, expected at least 1");
  if (options.max_tokens < 2) throw_invalid("max_tokens leaves no room for a prompt and an answer");
  return std::make_unique<T5Engine>(std::move(model), options);
}

}  // namespace mobula::models
