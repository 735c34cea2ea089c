#include "mobula/nn/generate/engine.hpp"

#include <fmt/format.h>

#include <cmath>

#include "mobula/base/error.hpp"

namespace mobula::nn {
namespace {

void check(const char* field, double value, double least, double most, bool open_at_least = false) {
  const bool good = value <= most && (open_at_least ? value > least : value >= least);  // false for NaN
  if (good) return;
  throw_invalid(fmt::format("{} is {}, expected a number {} {} to {}", field, value, open_at_least ? "above" : "from",
                            least, most));
}

}  // namespace

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
