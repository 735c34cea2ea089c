/// Requests of OpenAI's API, parsed and checked. What this server can't do is refused with 400, never ignored.
/// Reference: platform.openai.com/docs/api-reference (completions, chat). Beyond it, as other servers do: top_k, min_p,
/// typical_p, repetition_penalty, no_repeat_ngram_size, ignore_eos; documents and chat_template_kwargs for the chat template.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/nn/generate/engine.hpp"
#include "mobula/text/conversation.hpp"

namespace mobula::serve::openai {

/// What both kinds of requests have. `sampling.seed` is not set: see `seed`.
struct GenerationParameters {
  std::string model;
  nn::SamplingOptions sampling;
  std::vector<std::string> stop;
  std::size_t num_choices = 1;  ///< n
  std::optional<std::uint64_t> seed;
  bool stream = false;
  bool include_usage = false;  ///< stream_options.include_usage
};

/// The body of POST /v1/completions.
struct CompletionRequest {
  GenerationParameters parameters;
  std::vector<std::variant<std::string, std::vector<nn::TokenId>>> prompts;
  std::size_t best_of = 1;  ///< at least num_choices
  bool echo = false;
  bool logprobs = false;  ///< how many: parameters.sampling.logprobs
};

/// The body of POST /v1/chat/completions.
struct ChatRequest {
  GenerationParameters parameters;
  /// As read_messages() and read_tools() make it; "documents" and "chat_template_kwargs" are variables.
  text::Conversation conversation;
  bool logprobs = false;  ///< how many: parameters.sampling.logprobs
};

/// Parses a body; what it doesn't say of sampling is as in `defaults`. Throws ApiError(400) that names the field.
CompletionRequest parse_completion_request(std::string_view body, const nn::SamplingDefaults& defaults = {});
ChatRequest parse_chat_request(std::string_view body, const nn::SamplingDefaults& defaults = {});

}  // namespace mobula::serve::openai
