#include "mobula/serve/openai/service.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/serve/openai/answer_format.hpp"
#include "mobula/serve/openai/api_error.hpp"
#include "mobula/serve/openai/field_reader.hpp"
#include "mobula/serve/openai/generation_job.hpp"

namespace mobula::serve::openai {
namespace {

constexpr std::string_view kModels = "/v1/models";
constexpr std::string_view kCompletions = "/v1/completions";
constexpr std::string_view kChat = "/v1/chat/completions";

// Throws unless the method is one of the path's.
void allow(const http::Request& request, std::string_view method) {
  if (request.method == method || (method == "GET" && request.method == "HEAD")) return;
  throw ApiError(405, fmt::format("{} takes {}, not {}", request.path, method, request.method));
}

}  // namespace

Service::Service(ServedModel model, ServiceOptions options)
    : model_(std::move(model)),
      options_(std::move(options)),
      created_(std::time(nullptr)),
      seeds_(std::random_device{}()) {
  if (model_.id.empty()) throw_invalid("serve: the model has no name", "give it one with --name");
  if (!model_.generator) throw_invalid("serve: no generator");
  if (std::ranges::count(model_.generator->info().adapters, model_.id) > 0) {
    throw_invalid(fmt::format("serve: the model and an adapter are both named '{}'", model_.id), "give another --name");
  }
  SHA256(reinterpret_cast<const unsigned char*>(options_.api_key.data()), options_.api_key.size(), key_digest_.data());
}

http::Response Service::error_response(int status, std::string_view reason) {
  return ApiError(status, std::string(reason)).to_response();
}

void Service::handle(std::shared_ptr<http::Exchange> exchange) {
  std::string route_name = "other";
  try {
    route(exchange, route_name);
  } catch (const std::exception& error) {
    const ApiError refusal = to_api_error(error);
    metrics_.count_request(route_name, refusal.status());
    exchange->respond(refusal.to_response());
  }
}

void Service::route(const std::shared_ptr<http::Exchange>& exchange, std::string& route_name) {
  const http::Request& request = exchange->request();
  const auto answer = [&](http::Response response) {
    metrics_.count_request(route_name, response.status);
    exchange->respond(std::move(response));
  };
  if (request.path == "/healthz") {
    route_name = request.path;
    allow(request, "GET");
    return answer(health());
  }
  if (request.path == "/metrics") {
    route_name = request.path;
    allow(request, "GET");
    return answer({.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = metrics()});
  }
  if (request.path.starts_with("/v1/")) check_key(request);
  if (request.path == kModels) {
    route_name = kModels;
    allow(request, "GET");
    Json models = Json::array({model_object(model_.id)});
    for (const std::string& adapter : model_.generator->info().adapters) models.push_back(model_object(adapter));
    return answer({.body = to_line({{"object", "list"}, {"data", std::move(models)}})});
  }
  if (request.path.starts_with(fmt::format("{}/", kModels))) {
    route_name = "/v1/models/{id}";
    allow(request, "GET");
    const std::string id = request.path.substr(kModels.size() + 1);
    adapter_of(id);
    return answer({.body = to_line(model_object(id))});
  }
  if (request.path == kCompletions || request.path == kChat) {
    route_name = request.path;
    allow(request, "POST");
    return request.path == kChat ? chat(exchange) : complete(exchange);
  }
  throw ApiError(404, fmt::format("there is nothing at {} {}", request.method, request.path));
}

void Service::check_key(const http::Request& request) const {
  if (options_.api_key.empty()) return;
  constexpr std::string_view kScheme = "Bearer ";
  const std::string_view header = request.header("Authorization").value_or("");
  if (!header.starts_with(kScheme)) {
    throw ApiError(401, "an API key is needed: send it as 'Authorization: Bearer KEY'", {}, "missing_api_key");
  }
  // Digests have one length, and their comparison takes one time, whatever was sent.
  const std::string_view key = header.substr(kScheme.size());
  Digest digest{};
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  if (CRYPTO_memcmp(digest.data(), key_digest_.data(), digest.size()) != 0) {
    throw ApiError(401, "this API key is not valid here", {}, "invalid_api_key");
  }
}

std::string Service::adapter_of(const std::string& id) const {
  if (id == model_.id) return {};
  const std::vector<std::string>& adapters = model_.generator->info().adapters;
  if (std::ranges::find(adapters, id) != adapters.end()) return id;
  std::string known = quote(model_.id);
  for (const std::string& name : adapters) known += ", " + quote(name);
  throw ApiError(404, fmt::format("the model {} does not exist; this server has {}", quote(id), known), "model",
                 "model_not_found");
}

Json Service::model_object(const std::string& id) const {
  Json object = {{"id", id},
                 {"object", "model"},
                 {"created", created_},
                 {"owned_by", "mobula"},
                 {"max_model_len", model_.generator->info().context}};
  if (id != model_.id) object["parent"] = model_.id;
  return object;
}

http::Response Service::health() const {
  std::string_view state = "ok";
  if (options_.server_status && options_.server_status().draining) state = "draining";
  if (!model_.generator->is_healthy()) state = "the model's engine has failed";
  return {.status = state == "ok" ? 200 : 503, .body = to_line({{"status", state}})};
}

std::string Service::metrics() const {
  const TextGeneratorCounts counts = model_.generator->counts();
  const auto counter = [](std::string_view name, std::string_view help, std::uint64_t value) {
    return metric_line(name, "counter", help, static_cast<double>(value));
  };
  const auto gauge = [](std::string_view name, std::string_view help, std::size_t value) {
    return metric_line(name, "gauge", help, static_cast<double>(value));
  };
  std::string text = metrics_.to_string();
  text += counter("mobula_continuations_total", "Continuations started", counts.num_requests);
  text += counter("mobula_prompt_tokens_total", "Tokens of prompts", counts.num_prompt_tokens);
  text += counter("mobula_generated_tokens_total", "Tokens generated", counts.num_generated_tokens);
  text += counter("mobula_cancelled_total", "Continuations cancelled", counts.num_cancelled);
  text += gauge("mobula_continuations", "Continuations running or waiting", model_.generator->num_requests());
  if (options_.server_status) {
    const http::ServerStatus status = options_.server_status();
    text += gauge("mobula_connections", "Open connections", status.num_connections);
    text += gauge("mobula_requests", "Requests being answered", status.num_requests);
  }
  return text;
}

void Service::check_prompt(std::size_t num_tokens, const std::string& field, std::size_t max_tokens) const {
  const std::size_t context = model_.generator->info().context;
  if (num_tokens == 0) throw ApiError(400, fmt::format("'{}' has no tokens", field), field, "invalid_value");
  if (num_tokens < context || (num_tokens == context && max_tokens == 0)) return;
  throw ApiError(400,
                 fmt::format("this model's maximum context length is {} tokens, but '{}' has {}; shorten it", context,
                             field, num_tokens),
                 field, "context_length_exceeded");
}

void Service::check_bias(const nn::SamplingOptions& sampling) const {
  const std::size_t vocab_size = model_.generator->info().vocab_size;
  for (const auto& [id, bias] : sampling.logit_bias) {
    if (static_cast<std::size_t>(id) < vocab_size) continue;
    throw ApiError(400, fmt::format("'logit_bias' names token {}; the vocabulary has {}", id, vocab_size), "logit_bias",
                   "invalid_value");
  }
}

std::uint64_t Service::draw_seed() {
  const std::lock_guard lock(seeds_mutex_);
  return seeds_();
}

void Service::complete(const std::shared_ptr<http::Exchange>& exchange) {
  CompletionRequest request = parse_completion_request(exchange->request().body, model_.sampling);
  GenerationParameters& parameters = request.parameters;
  std::string adapter = adapter_of(parameters.model);
  check_bias(parameters.sampling);
  const text::Tokenizer& tokenizer = model_.generator->tokenizer();
  const std::size_t vocab_size = model_.generator->info().vocab_size;
  JobOptions job{.sampling = parameters.sampling,
                 .stop = std::move(parameters.stop),
                 .adapter = std::move(adapter),
                 .seed = parameters.seed ? *parameters.seed : draw_seed(),
                 .num_choices = parameters.num_choices,
                 .num_candidates = request.best_of,
                 .echo = request.echo,
                 .stream = parameters.stream,
                 .include_usage = parameters.include_usage,
                 .route = std::string(kCompletions)};
  for (auto& prompt : request.prompts) {
    JobPrompt one;
    if (auto* text = std::get_if<std::string>(&prompt)) {
      one.ids = tokenizer.encode(*text);
      if (request.echo) one.echo = std::move(*text);
      one.echoes_text = true;
    } else {
      one.ids = std::move(std::get<std::vector<TokenId>>(prompt));
      for (const TokenId id : one.ids) {
        if (static_cast<std::size_t>(id) < vocab_size) continue;
        throw ApiError(400, fmt::format("'prompt' holds token {}; the vocabulary has {}", id, vocab_size), "prompt",
                       "invalid_value");
      }
      if (request.echo) one.echo = tokenizer.decode(one.ids, false);
    }
    check_prompt(one.ids.size(), "prompt", parameters.sampling.max_tokens);
    job.prompts.push_back(std::move(one));
  }
  auto format = make_completion_format(parameters.model, request.logprobs, parameters.sampling.logprobs);
  std::make_shared<GenerationJob>(exchange, *model_.generator, metrics_, std::move(format), std::move(job))->start();
}

void Service::chat(const std::shared_ptr<http::Exchange>& exchange) {
  ChatRequest request = parse_chat_request(exchange->request().body, model_.sampling);
  GenerationParameters& parameters = request.parameters;
  std::string adapter = adapter_of(parameters.model);
  check_bias(parameters.sampling);
  if (!model_.render_chat) {
    throw ApiError(400, fmt::format("the model {} has no chat template; use {}", quote(model_.id), kCompletions),
                   "messages", "unsupported_value");
  }
  JobPrompt prompt;
  try {
    prompt.ids = model_.generator->tokenizer().encode(model_.render_chat(request.conversation),
                                                      model_.chat_needs_special_tokens);
  } catch (const text::NoPlaceError& error) {
    throw ApiError(400, error.message(), error.part(), "unsupported_value");
  }
  check_prompt(prompt.ids.size(), "messages", parameters.sampling.max_tokens);
  JobOptions job{.sampling = parameters.sampling,
                 .stop = std::move(parameters.stop),
                 .adapter = std::move(adapter),
                 .seed = parameters.seed ? *parameters.seed : draw_seed(),
                 .num_choices = parameters.num_choices,
                 .num_candidates = parameters.num_choices,
                 .stream = parameters.stream,
                 .include_usage = parameters.include_usage,
                 .route = std::string(kChat)};
  job.prompts.push_back(std::move(prompt));
  auto format = make_chat_format(parameters.model, request.logprobs, parameters.sampling.logprobs);
  std::make_shared<GenerationJob>(exchange, *model_.generator, metrics_, std::move(format), std::move(job))->start();
}

}  // namespace mobula::serve::openai
