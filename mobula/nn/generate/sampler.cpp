#include "mobula/nn/generate/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_set>

#include "mobula/base/random.hpp"

namespace mobula::nn {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

TokenId argmax(std::span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

Sampler::Sampler(SamplingOptions options, std::span<const TokenId> prompt)
    : options_(std::move(options)), tokens_(prompt.begin(), prompt.end()), num_prompt_(prompt.size()) {}

void Sampler::accept(TokenId id) {
  tokens_.push_back(id);
  ++counts_[id];
}

bool Sampler::plain() const {
  return options_.logit_bias.empty() && options_.repetition_penalty == 1.0 && options_.presence_penalty == 0.0 &&
         options_.frequency_penalty == 0.0 && options_.no_repeat_ngram == 0;
}

void Sampler::adjust(std::vector<float>& logits) const {
  for (const auto& [id, bias] : options_.logit_bias) {
    if (id >= 0 && static_cast<std::size_t>(id) < logits.size()) logits[id] += static_cast<float>(bias);
  }
  if (options_.repetition_penalty != 1.0) {
    const auto penalty = static_cast<float>(options_.repetition_penalty);
    for (const TokenId id : std::unordered_set<TokenId>(tokens_.begin(), tokens_.end())) {
      logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
    }
  }
  for (const auto& [id, count] : counts_) {
    logits[id] -= static_cast<float>(options_.presence_penalty + options_.frequency_penalty * count);
  }
  if (options_.no_repeat_ngram > 0) forbid_repeated_ngrams(logits);
}

void Sampler::forbid_repeated_ngrams(std::vector<float>& logits) const {
  const std::size_t n = options_.no_repeat_ngram;
  if (tokens_.size() + 1 < n) return;
  const auto tail = tokens_.end() - static_cast<std::ptrdiff_t>(n - 1);
  for (std::size_t i = 0; i + n <= tokens_.size(); ++i) {
    const auto begin = tokens_.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::equal(tail, tokens_.end(), begin)) logits[tokens_[i + n - 1]] = kNever;
  }
}

TokenId Sampler::sample(std::span<const float> logits) {
  if (!plain()) {
    adjusted_.assign(logits.begin(), logits.end());
    adjust(adjusted_);
    // Everything forbidden: the model's own scores count.
    if (std::ranges::any_of(adjusted_, [](float x) { return x > kNever; })) logits = adjusted_;
  }
  if (options_.temperature == 0.0) return argmax(logits);
  candidates_.clear();
  for (std::size_t id = 0; id < logits.size(); ++id) candidates_.push_back({logits[id], static_cast<TokenId>(id)});
  return draw(candidates_);
}

TokenId Sampler::draw(std::vector<Candidate>& candidates) {
  const auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  };
  if (options_.top_k > 0 && options_.top_k < candidates.size()) {
    const auto end = candidates.begin() + static_cast<std::ptrdiff_t>(options_.top_k);
    std::nth_element(candidates.begin(), end - 1, candidates.end(), likelier);
    candidates.erase(end, candidates.end());
  }
  const bool cut = options_.top_p < 1.0 || options_.min_p > 0.0 || options_.typical_p < 1.0;
  if (cut) std::sort(candidates.begin(), candidates.end(), likelier);
  const float top = std::max_element(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
                      return a.logit < b.logit;
                    })->logit;
  const auto weigh = [&] {
    weights_.clear();
    for (const Candidate& c : candidates) {
      weights_.push_back(std::exp((static_cast<double>(c.logit) - top) / options_.temperature));
    }
    return std::accumulate(weights_.begin(), weights_.end(), 0.0);
  };
  double total = weigh();
  const auto keep_first = [&](std::size_t count) {
    candidates.resize(std::max<std::size_t>(count, 1));
    total = weigh();
  };
  const auto keep_mass = [&](double mass) {
    double passed = 0;
    std::size_t count = 0;
    while (count < candidates.size() && passed < mass * total) passed += weights_[count++];
    keep_first(count);
  };
  if (options_.top_p < 1.0) keep_mass(options_.top_p);
  if (options_.typical_p < 1.0) {
    double entropy = 0;
    for (const double w : weights_) entropy -= w > 0 ? w / total * std::log(w / total) : 0.0;
    std::stable_sort(candidates.begin(), candidates.end(), [&](const Candidate& a, const Candidate& b) {
      const auto surprise = [&](const Candidate& c) {
        const double log_p = (static_cast<double>(c.logit) - top) / options_.temperature - std::log(total);
        return std::abs(-log_p - entropy);
      };
      return surprise(a) < surprise(b);
    });
    total = weigh();
    keep_mass(options_.typical_p);
  }
  if (options_.min_p > 0.0) {
    const double least = options_.min_p * *std::max_element(weights_.begin(), weights_.end());
    std::size_t kept = 0;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      if (weights_[i] >= least) candidates[kept++] = candidates[i];
    }
    keep_first(kept);
  }
  Random random(options_.seed);
  random.seek(tokens_.size() - num_prompt_);
  double left = random.uniform() * total;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    left -= weights_[i];
    if (left < 0) return candidates[i].id;
  }
  // Rounding left a rest: the last candidate that can be drawn.
  for (std::size_t i = candidates.size(); i-- > 0;) {
    if (weights_[i] > 0) return candidates[i].id;
  }
  return candidates.front().id;
}

std::vector<std::pair<TokenId, double>> top_logprobs(std::span<const float> logits, double log_sum, std::size_t count) {
  std::vector<TokenId> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  count = std::min(count, ids.size());
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end(),
                    [&](TokenId a, TokenId b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); });
  std::vector<std::pair<TokenId, double>> top;
  for (std::size_t i = 0; i < count; ++i) top.emplace_back(ids[i], static_cast<double>(logits[ids[i]]) - log_sum);
  return top;
}

}  // namespace mobula::nn
