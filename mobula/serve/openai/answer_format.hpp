/// The JSON of answers: completions and chat completions, whole or in chunks.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/nn/generate/engine.hpp"

namespace mobula::serve::openai {

/// A token with what it stands for, for "logprobs".
struct ScoredToken {
  std::string bytes;                                         ///< may be a part of a character
  double logprob = 0;                                        ///< NaN where there is none: a prompt's first token
  std::vector<std::pair<std::string, double>> alternatives;  ///< the likeliest first
  std::size_t offset = 0;                                    ///< characters of the choice's text before it
};

/// A part of a choice's answer; a whole answer is one part.
struct AnswerPart {
  std::size_t index = 0;
  std::string text;
  std::vector<ScoredToken> tokens;
  nn::FinishReason finish = nn::FinishReason::none;
};

/// Tokens of a request and its answers.
struct Usage {
  std::size_t prompt_tokens = 0;
  std::size_t completion_tokens = 0;
};

/// Writes answers of one request. Immutable.
class AnswerFormat {
 public:
  /// `logprobs`: write them; `num_alternatives`: how many were asked for.
  AnswerFormat(std::string model, bool logprobs, std::size_t num_alternatives);
  virtual ~AnswerFormat() = default;

  /// Returns the body of a whole answer.
  std::string whole(const std::vector<AnswerPart>& choices, const Usage& usage) const;
  /// Returns the events that open a choice's stream; may be empty.
  virtual std::string opening(std::size_t index, bool with_usage) const = 0;
  /// Returns the event of a part. `with_usage` writes "usage": null, as chunks before the last do.
  std::string chunk(const AnswerPart& part, bool with_usage) const;
  /// Returns the last event before "[DONE]" where usage was asked for.
  std::string usage_chunk(const Usage& usage) const;

  const std::string& id() const noexcept { return id_; }
  bool logprobs() const noexcept { return logprobs_; }

 protected:
  virtual std::string_view id_prefix() const = 0;
  virtual std::string_view object_name(bool chunk) const = 0;
  virtual Json choice(const AnswerPart& part, bool chunk) const = 0;
  /// Sets id and the texts that start every answer; call it in the derived constructor.
  void initialize();
  std::string event(const Json& choice, bool with_usage) const;

  std::size_t num_alternatives_;
  bool logprobs_;

 private:
  Json head(bool chunk) const;

  std::string model_;
  std::string id_;
  std::int64_t created_;
  std::string chunk_head_;  // of every chunk, up to its choices
};

std::unique_ptr<AnswerFormat> make_completion_format(std::string model, bool logprobs, std::size_t num_alternatives);
std::unique_ptr<AnswerFormat> make_chat_format(std::string model, bool logprobs, std::size_t num_alternatives);

/// Formats one server-sent event: "data: TEXT\n\n".
std::string server_sent_event(std::string_view text);

}  // namespace mobula::serve::openai
