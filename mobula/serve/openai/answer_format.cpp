#include "mobula/serve/openai/answer_format.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <random>

#include "mobula/base/version.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::serve::openai {
namespace {

// Clients read logprobs as plain numbers; OpenAI writes -9999 for what has no probability at all.
constexpr double kNoProbability = -9999;

double finite(double logprob) {
  return std::max(logprob, kNoProbability);
}

std::string random_hex() {
  thread_local std::random_device entropy;
  return fmt::format("{:08x}{:08x}{:08x}", entropy(), entropy(), entropy());
}

Json finish_reason(nn::FinishReason reason) {
  switch (reason) {
    case nn::FinishReason::none:
      return nullptr;
    case nn::FinishReason::length:
      return "length";
    default:
      return "stop";
  }
}

/// A token as completions name it: its text, or as OpenAI does "bytes:\\xe2\\x80" for a part of a character, so that different
/// tokens have different names.
std::string completion_token(const std::string& bytes) {
  if (text::is_valid_utf8(bytes)) return bytes;
  std::string name = "bytes:";
  for (const char byte : bytes) name += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
  return name;
}

Json to_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
}

/// POST /v1/completions.
class CompletionFormat : public AnswerFormat {
 public:
  CompletionFormat(std::string model, bool logprobs, std::size_t num_alternatives)
      : AnswerFormat(std::move(model), logprobs, num_alternatives) {
    initialize();
  }

  std::string opening(std::size_t, bool) const override { return {}; }

 protected:
  std::string_view id_prefix() const override { return "cmpl-"; }
  std::string_view object_name(bool) const override { return "text_completion"; }

  Json choice(const AnswerPart& part, bool) const override {
    return {{"index", part.index},
            {"text", part.text},
            {"logprobs", logprobs() ? logprobs_of(part) : Json()},
            {"finish_reason", finish_reason(part.finish)}};
  }

 private:
  Json logprobs_of(const AnswerPart& part) const {
    Json tokens = Json::array(), scores = Json::array(), alternatives = Json::array(), offsets = Json::array();
    for (const ScoredToken& token : part.tokens) {
      const bool scored = !std::isnan(token.logprob);
      tokens.push_back(completion_token(token.bytes));
      scores.push_back(scored ? Json(finite(token.logprob)) : Json());
      offsets.push_back(token.offset);
      Json likeliest = Json::object();
      for (const auto& [bytes, logprob] : token.alternatives)
        likeliest.emplace(completion_token(bytes), finite(logprob));
      if (scored) likeliest.emplace(completion_token(token.bytes), finite(token.logprob));
      alternatives.push_back(scored ? std::move(likeliest) : Json());
    }
    return {{"tokens", std::move(tokens)},
            {"token_logprobs", std::move(scores)},
            {"top_logprobs", num_alternatives_ > 0 ? std::move(alternatives) : Json()},
            {"text_offset", std::move(offsets)}};
  }
};

/// POST /v1/chat/completions.
class ChatFormat : public AnswerFormat {
 public:
  ChatFormat(std::string model, bool logprobs, std::size_t num_alternatives)
      : AnswerFormat(std::move(model), logprobs, num_alternatives) {
    initialize();
  }

  std::string opening(std::size_t index, bool with_usage) const override {
    return event({{"index", index},
                  {"delta", {{"role", "assistant"}, {"content", ""}}},
                  {"logprobs", nullptr},
                  {"finish_reason", nullptr}},
                 with_usage);
  }

 protected:
  std::string_view id_prefix() const override { return "chatcmpl-"; }
  std::string_view object_name(bool chunk) const override {
    return chunk ? "chat.completion.chunk" : "chat.completion";
  }

  Json choice(const AnswerPart& part, bool chunk) const override {
    Json result = {{"index", part.index}};
    if (chunk) {
      result["delta"] = Json::object();
      if (!part.text.empty()) result["delta"]["content"] = part.text;
    } else {
      result["message"] = {{"role", "assistant"}, {"content", part.text}, {"refusal", nullptr}};
    }
    const bool scored = logprobs() && (!chunk || !part.tokens.empty());
    result["logprobs"] = scored ? logprobs_of(part) : Json();
    result["finish_reason"] = finish_reason(part.finish);
    return result;
  }

 private:
  static Json entry(const std::string& bytes, double logprob) {
    Json numbers = Json::array();
    for (const char byte : bytes) numbers.push_back(static_cast<unsigned char>(byte));
    std::string token;
    text::append_repaired_utf8(token, bytes);
    return {{"token", std::move(token)}, {"logprob", finite(logprob)}, {"bytes", std::move(numbers)}};
  }

  Json logprobs_of(const AnswerPart& part) const {
    Json content = Json::array();
    for (const ScoredToken& token : part.tokens) {
      Json one = entry(token.bytes, token.logprob);
      one["top_logprobs"] = Json::array();
      for (const auto& [bytes, logprob] : token.alternatives) one["top_logprobs"].push_back(entry(bytes, logprob));
      content.push_back(std::move(one));
    }
    return {{"content", std::move(content)}, {"refusal", nullptr}};
  }
};

}  // namespace

std::string server_sent_event(std::string_view text) {
  return fmt::format("data: {}\n\n", text);
}

AnswerFormat::AnswerFormat(std::string model, bool logprobs, std::size_t num_alternatives)
    : num_alternatives_(num_alternatives),
      logprobs_(logprobs),
      model_(std::move(model)),
      created_(std::time(nullptr)) {}

void AnswerFormat::initialize() {
  id_ = std::string(id_prefix()) + random_hex();
  chunk_head_ = to_line(head(true));
  chunk_head_.back() = ',';  // instead of the object's closing brace
}

Json AnswerFormat::head(bool chunk) const {
  return {{"id", id_},
          {"object", object_name(chunk)},
          {"created", created_},
          {"model", model_},
          {"system_fingerprint", fmt::format("mobula-{}", version())}};
}

std::string AnswerFormat::event(const Json& choice, bool with_usage) const {
  return fmt::format("data: {}\"choices\":[{}]{}}}\n\n", chunk_head_, to_line(choice),
                     with_usage ? ",\"usage\":null" : "");
}

std::string AnswerFormat::whole(const std::vector<AnswerPart>& choices, const Usage& usage) const {
  Json answer = head(false);
  answer["choices"] = Json::array();
  for (const AnswerPart& part : choices) answer["choices"].push_back(choice(part, false));
  answer["usage"] = to_json(usage);
  return to_line(answer);
}

std::string AnswerFormat::chunk(const AnswerPart& part, bool with_usage) const {
  return event(choice(part, true), with_usage);
}

std::string AnswerFormat::usage_chunk(const Usage& usage) const {
  return fmt::format("data: {}\"choices\":[],\"usage\":{}}}\n\n", chunk_head_, to_line(to_json(usage)));
}

std::unique_ptr<AnswerFormat> make_completion_format(std::string model, bool logprobs, std::size_t num_alternatives) {
  return std::make_unique<CompletionFormat>(std::move(model), logprobs, num_alternatives);
}

std::unique_ptr<AnswerFormat> make_chat_format(std::string model, bool logprobs, std::size_t num_alternatives) {
  return std::make_unique<ChatFormat>(std::move(model), logprobs, num_alternatives);
}

}  // namespace mobula::serve::openai
