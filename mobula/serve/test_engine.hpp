/// A deterministic engine without a model, for tests: it continues a prompt with the prompt itself, over and over.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <set>
#include <vector>

#include "mobula/nn/generate/engine.hpp"

namespace mobula::serve {

/// Token i of a continuation is token i of the prompt (modulo its length) shifted by the seed; its logprob is -(i + 1) / 8.
/// The end-of-text id ends a request unless it ignores it. Steps wait while the engine is held.
class TestEngine : public nn::GenerationEngine {
 public:
  struct Options {
    std::size_t vocab_size = 256;
    std::size_t context = 128;
    nn::TokenId eos = 0;
    std::vector<std::string> adapters;  ///< the i-th one counts as a seed that is i + 1 higher
  };

  explicit TestEngine(Options options);
  TestEngine() : TestEngine(Options{}) {}

  const nn::EngineInfo& info() const override { return info_; }
  RequestId submit(nn::GenerationRequest request) override;
  void cancel(RequestId id) override;
  bool step() override;
  std::size_t num_requests() const override;

  /// Stops steps from making tokens until release(); cancellations still happen.
  void hold() { held_ = true; }
  void release() { held_ = false; }
  /// Makes the next step throw.
  void break_down() { broken_ = true; }
  std::size_t num_cancelled() const { return num_cancelled_; }
  std::size_t largest_batch() const { return largest_batch_; }

 private:
  struct Running {
    RequestId id;
    nn::GenerationRequest request;
    std::size_t made = 0;
  };

  nn::EngineInfo info_;
  mutable std::mutex mutex_;
  std::deque<Running> queued_;
  std::set<RequestId> cancelled_;
  std::vector<Running> running_;
  RequestId next_ = 1;
  std::atomic<bool> held_{false}, broken_{false};
  std::atomic<std::size_t> num_cancelled_{0}, largest_batch_{0}, num_running_{0};
};

}  // namespace mobula::serve
