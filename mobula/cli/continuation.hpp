/// Prompts that a generation engine continues, as text.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mobula/nn/generate/engine.hpp"
#include "mobula/serve/stop_matcher.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::cli {

/// What came of a prompt.
struct Answer {
  std::string text;
  std::vector<nn::TokenId> tokens;
  std::vector<double> logprobs;                                        ///< of the tokens
  std::vector<std::vector<std::pair<nn::TokenId, double>>> likeliest;  ///< beside each, where asked for
  nn::FinishReason finish = nn::FinishReason::none;
  std::string error;
  std::chrono::steady_clock::time_point start, end;
};

/// One prompt being continued: ids become text, text is held against the stop strings.
class Continuation {
 public:
  Continuation(std::shared_ptr<const text::Tokenizer> tokenizer, std::vector<std::string> stops)
      : stops_(std::move(stops)) {
    if (tokenizer != nullptr) decoder_.emplace(std::move(tokenizer));
  }

  /// Takes an event; returns false where a stop string ended the answer.
  bool take(const nn::TokenEvent& event) {
    std::string piece;
    if (event.id >= 0) {
      answer.tokens.push_back(event.id);
      answer.logprobs.push_back(event.logprob);
      if (!event.top_logprobs.empty()) answer.likeliest.push_back(event.top_logprobs);
      if (decoder_) piece = stops_.push(decoder_->push(event.id));
    }
    if (event.finish != nn::FinishReason::none && !stops_.stopped()) {
      if (decoder_) piece += stops_.push(decoder_->finish());
      if (!stops_.stopped()) piece += stops_.finish();
    }
    answer.text += piece;
    fresh += piece;
    answer.finish = stops_.stopped() ? nn::FinishReason::stop : event.finish;
    answer.error = event.error;
    answer.end = std::chrono::steady_clock::now();
    return !stops_.stopped();
  }

  Answer answer;
  std::string fresh;  ///< text that nobody has printed yet

 private:
  std::optional<text::StreamDecoder> decoder_;
  serve::StopMatcher stops_;
};

}  // namespace mobula::cli
