#include "mobula/nn/generate/engine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"

namespace mobula::nn {
namespace {

void check(const char* field, double value, double least, double most, bool open_at_least = false) {
  const bool good = value <= most && (open_at_least ? value > least : value >= least);  // false for NaN
  if (good) return;
  throw_invalid(fmt::format("{} is {}, expected a number {} {} to {}", field, value, open_at_least ? "above" : "from",
                            least, most));
}

void check_id(const char* what, TokenId id, std::size_t vocab_size) {
  if (id >= 0 && static_cast<std::size_t>(id) < vocab_size) return;
  throw_invalid(fmt::format("{} {} is outside the vocabulary of {}", what, id, vocab_size));
}

}  // namespace

void check_request(const GenerationRequest& request, const EngineInfo& info) {
  request.sampling.validate();
  if (request.prompt.empty()) throw_invalid("the prompt is empty", "give at least one token");
  for (const TokenId id : request.prompt) check_id("token id", id, info.vocab_size);
  const std::size_t room = request.sampling.max_tokens > 0 ? 1 : 0;
  if (request.prompt.size() + room > info.context) {
    throw_invalid(fmt::format("the prompt of {} tokens leaves no room in the model's context of {}",
                              request.prompt.size(), info.context));
  }
  for (const auto& [id, bias] : request.sampling.logit_bias) check_id("logit_bias: token", id, info.vocab_size);
  if (!request.adapter.empty() && std::ranges::find(info.adapters, request.adapter) == info.adapters.end()) {
    throw_invalid(fmt::format("there is no adapter '{}'", request.adapter), suggest(request.adapter, info.adapters));
  }
}

void SamplingOptions::validate() const {
  check("temperature", temperature, 0, 100);
  check("top_p", top_p, 0, 1, true);
  check("min_p", min_p, 0, 1);
  check("typical_p", typical_p, 0, 1, true);
  check("repetition_penalty", repetition_penalty, 0, 100, true);
  check("presence_penalty", presence_penalty, -100, 100);
  check("frequency_penalty", frequency_penalty, -100, 100);
  for (const auto& [id, bias] : logit_bias) {
    if (std::isnan(bias)) throw_invalid(fmt::format("logit_bias of token {} is no number", id));
  }
}

std::string_view to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::none:
      return "none";
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
    case FinishReason::error:
      return "error";
  }
  return "error";
}

}  // namespace mobula::nn
