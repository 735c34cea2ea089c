#include "mobula/serve/test_engine.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <stdexcept>
#include <thread>
#include <utility>

#include "mobula/base/error.hpp"

namespace mobula::serve {

TestEngine::TestEngine(Options options)
    : info_{.family = "test",
            .vocab_size = options.vocab_size,
            .context = options.context,
            .eos_ids = {options.eos},
            .adapters = std::move(options.adapters)} {}

nn::GenerationEngine::RequestId TestEngine::submit(nn::GenerationRequest request) {
  for (const nn::TokenId id : request.prompt) {
    if (id < 0 || static_cast<std::size_t>(id) >= info_.vocab_size)
      throw_invalid("a prompt's id is outside the vocabulary");
  }
  const auto adapter = std::find(info_.adapters.begin(), info_.adapters.end(), request.adapter);
  if (adapter != info_.adapters.end()) {
    request.sampling.seed += static_cast<std::uint64_t>(adapter - info_.adapters.begin()) + 1;
  }
  const std::lock_guard lock(mutex_);
  queued_.push_back({next_, std::move(request)});
  return next_++;
}

void TestEngine::cancel(RequestId id) {
  const std::lock_guard lock(mutex_);
  cancelled_.insert(id);
}

std::size_t TestEngine::num_requests() const {
  const std::lock_guard lock(mutex_);
  return queued_.size() + num_running_;
}

bool TestEngine::step() {
  if (broken_) throw std::runtime_error("broken on request");
  std::set<RequestId> cancelled;
  {
    const std::lock_guard lock(mutex_);
    while (!queued_.empty()) {
      running_.push_back(std::move(queued_.front()));
      queued_.pop_front();
    }
    cancelled = std::exchange(cancelled_, {});
  }
  if (running_.empty()) return false;
  largest_batch_ = std::max(largest_batch_.load(), running_.size());
  std::vector<Running> next;
  for (Running& one : running_) {
    if (cancelled.contains(one.id)) {
      ++num_cancelled_;
      one.request.on_token({.finish = nn::FinishReason::cancelled});
      continue;
    }
    if (held_) {
      next.push_back(std::move(one));
      continue;
    }
    const auto& prompt = one.request.prompt;
    const auto& sampling = one.request.sampling;
    nn::TokenEvent event;
    event.id = static_cast<nn::TokenId>((static_cast<std::size_t>(prompt[one.made % prompt.size()]) + sampling.seed) %
                                        info_.vocab_size);
    event.logprob = -(static_cast<double>(one.made) + 1) / 8;
    for (std::size_t i = 0; i < sampling.logprobs; ++i) {
      const auto id = static_cast<nn::TokenId>((static_cast<std::size_t>(event.id) + i) % info_.vocab_size);
      event.top_logprobs.emplace_back(id, event.logprob - static_cast<double>(i));
    }
    if (one.made == 0 && sampling.prompt_logprobs) {
      event.prompt_logprobs.assign(prompt.size(), -0.5);
      event.prompt_logprobs[0] = std::numeric_limits<double>::quiet_NaN();
    }
    ++one.made;
    if (event.id == info_.eos_ids.front() && !sampling.ignore_eos) {
      event.id = -1;
      event.finish = nn::FinishReason::stop;
    } else if (one.made == sampling.max_tokens) {
      event.finish = nn::FinishReason::length;
    }
    const bool more = one.request.on_token(event);
    if (more && event.finish == nn::FinishReason::none) next.push_back(std::move(one));
  }
  running_ = std::move(next);
  num_running_ = running_.size();
  if (held_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return true;
}

}  // namespace mobula::serve
