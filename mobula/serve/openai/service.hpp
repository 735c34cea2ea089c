/// OpenAI's HTTP API over a text generator: /v1/models, /v1/completions, /v1/chat/completions, beside /healthz and /metrics.
///
///     openai::Service service({.id = "tiny", .generator = generator, .render_chat = template}, {});
///     http::Server server({.port = 8000, .error_response = openai::Service::error_response},
///                         [&](auto exchange) { service.handle(std::move(exchange)); });
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <string_view>

#include "mobula/base/json.hpp"
#include "mobula/serve/http/exchange.hpp"
#include "mobula/serve/http/server.hpp"
#include "mobula/serve/metrics.hpp"
#include "mobula/serve/openai/request.hpp"
#include "mobula/serve/text_generator.hpp"

namespace mobula::serve::openai {

/// The model behind an API. The adapters of its engine are models of the API, too, under their names.
struct ServedModel {
  std::string id;
  std::shared_ptr<TextGenerator> generator;
  /// Makes a chat's prompt, ready for an answer. Empty: the model has no chat template and chats are refused. May throw
  /// Error(invalid_argument) for messages the template refuses, and text::NoPlaceError.
  std::function<std::string(const text::Conversation& conversation)> render_chat;
  /// What render_chat makes is plain text: the tokenizer puts special tokens around it. Templates write them themselves.
  bool chat_needs_special_tokens = false;
  nn::SamplingDefaults sampling;  ///< of requests that don't say it
};

struct ServiceOptions {
  std::string api_key;  ///< asked for by everything below /v1; empty: no key is needed
  /// Adds what the server knows to /metrics and tells /healthz that it drains.
  std::function<http::ServerStatus()> server_status;
};

/// The API. Thread-safe. Must outlive the server that calls it.
class Service {
 public:
  /// Throws Error(invalid_argument) for a model without id or generator.
  Service(ServedModel model, ServiceOptions options);

  /// Answers one request.
  void handle(std::shared_ptr<http::Exchange> exchange);

  /// Makes the server's own refusals in the API's shape.
  static http::Response error_response(int status, std::string_view reason);

 private:
  using Digest = std::array<unsigned char, 32>;

  void route(const std::shared_ptr<http::Exchange>& exchange, std::string& route_name);
  void check_key(const http::Request& request) const;
  // Returns the adapter that stands under a model's id, nothing for the model itself; refuses other ids.
  std::string adapter_of(const std::string& id) const;
  Json model_object(const std::string& id) const;
  http::Response health() const;
  std::string metrics() const;
  void complete(const std::shared_ptr<http::Exchange>& exchange);
  void chat(const std::shared_ptr<http::Exchange>& exchange);
  void check_prompt(std::size_t num_tokens, const std::string& field, std::size_t max_tokens) const;
  void check_bias(const nn::SamplingOptions& sampling) const;
  std::uint64_t draw_seed();

  ServedModel model_;
  ServiceOptions options_;
  Digest key_digest_{};
  std::int64_t created_;
  Metrics metrics_;
  std::mutex seeds_mutex_;
  std::mt19937_64 seeds_;
};

}  // namespace mobula::serve::openai
