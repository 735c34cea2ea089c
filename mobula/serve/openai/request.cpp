#include "mobula/serve/openai/request.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <limits>
#include <utility>

#include "mobula/serve/openai/api_error.hpp"
#include "mobula/serve/openai/chat_messages.hpp"
#include "mobula/serve/openai/field_reader.hpp"

namespace mobula::serve::openai {
namespace {

constexpr std::int64_t kMaxTokens = INT64_MAX;
constexpr std::int64_t kMaxChoices = 128;
constexpr std::int64_t kMaxBestOf = 20;
constexpr std::int64_t kMaxLogprobs = 20;
constexpr std::size_t kMaxPrompts = 256;
constexpr std::size_t kMaxStops = 16;
constexpr std::size_t kMaxStopBytes = 1024;
constexpr std::size_t kMaxBiases = 1024;
constexpr std::size_t kMaxMembers = 2048;

Json parse_body(std::string_view body) {
  return parse_json(body, "the body", {.max_depth = 32, .max_members = kMaxMembers});
}

[[noreturn]] void refuse(std::string message, std::string field) {
  throw ApiError(400, std::move(message), std::move(field), "invalid_value");
}

std::vector<std::string> read_stop(FieldReader& fields) {
  const Json* value = fields.find("stop");
  if (value == nullptr) return {};
  std::vector<std::string> stops;
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& stop : list) {
    if (!stop.is_string() || stop.get_ref<const std::string&>().empty() ||
        stop.get_ref<const std::string&>().size() > kMaxStopBytes) {
      refuse(fmt::format("'stop' must be a string of 1 to {} bytes or an array of them, not {}", kMaxStopBytes,
                         quote(stop)),
             "stop");
    }
    stops.push_back(stop.get<std::string>());
  }
  if (stops.size() > kMaxStops) refuse(fmt::format("'stop' holds more than {} strings", kMaxStops), "stop");
  return stops;
}

std::vector<std::pair<nn::TokenId, double>> read_logit_bias(FieldReader& fields) {
  const Json* value = fields.find("logit_bias");
  if (value == nullptr) return {};
  if (!value->is_object()) refuse("'logit_bias' must be an object of token ids and numbers", "logit_bias");
  if (value->size() > kMaxBiases)
    refuse(fmt::format("'logit_bias' has more than {} entries", kMaxBiases), "logit_bias");
  std::vector<std::pair<nn::TokenId, double>> biases;
  for (const auto& [key, bias] : value->items()) {
    nn::TokenId id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0) {
      refuse(fmt::format("'logit_bias' has the key {}, which is no token id", quote(key)), "logit_bias");
    }
    if (!bias.is_number() || bias.get<double>() < -100 || bias.get<double>() > 100) {
      refuse(fmt::format("'logit_bias' of {} must be a number from -100 to 100, not {}", id, quote(bias)),
             "logit_bias");
    }
    biases.emplace_back(id, bias.get<double>());
  }
  return biases;
}

GenerationParameters read_parameters(FieldReader& fields, const nn::SamplingDefaults& defaults) {
  GenerationParameters result;
  auto model = fields.string("model");
  if (!model) throw ApiError(400, "you must provide a 'model'; GET /v1/models lists it", "model", "missing_parameter");
  result.model = std::move(*model);
  nn::SamplingOptions& sampling = result.sampling;
  sampling = defaults.sampling;
  sampling.temperature = fields.number("temperature", 0, 2).value_or(sampling.temperature);
  sampling.top_p = fields.number("top_p", 0, 1).value_or(sampling.top_p);
  if (sampling.top_p <= 0) refuse("'top_p' must be greater than 0; use temperature 0 for greedy decoding", "top_p");
  sampling.presence_penalty = fields.number("presence_penalty", -2, 2).value_or(sampling.presence_penalty);
  sampling.frequency_penalty = fields.number("frequency_penalty", -2, 2).value_or(sampling.frequency_penalty);
  if (const auto top_k = fields.integer("top_k", -1, std::numeric_limits<std::int32_t>::max())) {
    sampling.top_k = static_cast<std::size_t>(std::max<std::int64_t>(0, *top_k));
  }
  sampling.min_p = fields.number("min_p", 0, 1).value_or(sampling.min_p);
  sampling.typical_p = fields.number("typical_p", 0, 1).value_or(sampling.typical_p);
  if (sampling.typical_p <= 0) refuse("'typical_p' must be greater than 0", "typical_p");
  sampling.repetition_penalty = fields.number("repetition_penalty", 0.01, 10).value_or(sampling.repetition_penalty);
  if (const auto size = fields.integer("no_repeat_ngram_size", 0, 1024)) {
    sampling.no_repeat_ngram = static_cast<std::size_t>(*size);
  }
  sampling.ignore_eos = fields.boolean("ignore_eos").value_or(false);
  sampling.logit_bias = read_logit_bias(fields);
  result.stop = read_stop(fields);
  result.num_choices = static_cast<std::size_t>(fields.integer("n", 1, kMaxChoices).value_or(1));
  if (const auto seed = fields.integer("seed", INT64_MIN, INT64_MAX)) result.seed = static_cast<std::uint64_t>(*seed);
  result.stream = fields.boolean("stream").value_or(false);
  if (const Json* value = fields.find("stream_options")) {
    if (!result.stream) refuse("'stream_options' is only allowed with 'stream': true", "stream_options");
    FieldReader options(*value, "stream_options");
    result.include_usage = options.boolean("include_usage").value_or(false);
    options.only("include_obfuscation", {"false"});
    options.finish();
  }
  fields.label("user");
  return result;
}

bool is_token_array(const Json& value) {
  return value.is_array() && !value.empty() &&
         std::all_of(value.begin(), value.end(), [](const Json& id) { return id.is_number_integer(); });
}

std::vector<nn::TokenId> read_tokens(const Json& value) {
  std::vector<nn::TokenId> ids;
  ids.reserve(value.size());
  for (const Json& id : value) {
    const bool fits = id.is_number_unsigned() && id.get<std::uint64_t>() <= std::numeric_limits<nn::TokenId>::max();
    if (!fits) refuse(fmt::format("'prompt' holds {}, which is no token id", quote(id)), "prompt");
    ids.push_back(id.get<nn::TokenId>());
  }
  return ids;
}

void read_prompts(FieldReader& fields, CompletionRequest& request) {
  const Json* value = fields.find("prompt");
  if (value == nullptr) throw ApiError(400, "you must provide a 'prompt'", "prompt", "missing_parameter");
  const auto add = [&](const Json& prompt) {
    if (prompt.is_string()) {
      request.prompts.emplace_back(prompt.get<std::string>());
    } else if (is_token_array(prompt)) {
      request.prompts.emplace_back(read_tokens(prompt));
    } else {
      refuse(
          fmt::format("'prompt' must be a string, an array of token ids, or an array of these, not {}", quote(prompt)),
          "prompt");
    }
  };
  if (!value->is_array() || is_token_array(*value)) {
    add(*value);
    return;
  }
  if (value->empty() || value->size() > kMaxPrompts) {
    refuse(fmt::format("'prompt' must hold 1 to {} prompts, not {}", kMaxPrompts, value->size()), "prompt");
  }
  for (const Json& prompt : *value) add(prompt);
}

Json read_template_variables(FieldReader& fields) {
  Json variables = Json::object();
  if (const Json* more = fields.find("chat_template_kwargs")) {
    if (!more->is_object())
      refuse("'chat_template_kwargs' must be an object of the template's variables", "chat_template_kwargs");
    variables = *more;
  }
  if (const Json* documents = fields.find("documents")) {
    if (!documents->is_array()) refuse("'documents' must be an array", "documents");
    if (!documents->empty()) variables["documents"] = *documents;
  }
  return variables;
}

}  // namespace

CompletionRequest parse_completion_request(std::string_view body, const nn::SamplingDefaults& defaults) {
  const Json json = parse_body(body);
  FieldReader fields(json, "");
  CompletionRequest request;
  request.parameters = read_parameters(fields, defaults);
  read_prompts(fields, request);
  GenerationParameters& parameters = request.parameters;
  request.echo = fields.boolean("echo").value_or(false);
  const auto limit = fields.integer("max_tokens", 0, kMaxTokens);
  parameters.sampling.max_tokens = limit ? static_cast<std::size_t>(*limit) : defaults.max_tokens.value_or(16);
  if (const auto count = fields.integer("logprobs", 0, kMaxLogprobs)) {
    request.logprobs = true;
    parameters.sampling.logprobs = static_cast<std::size_t>(*count);
  }
  parameters.sampling.prompt_logprobs = request.echo && request.logprobs;
  const auto num_choices = static_cast<std::int64_t>(parameters.num_choices);
  request.best_of =
      static_cast<std::size_t>(fields.integer("best_of", 1, std::max(kMaxBestOf, num_choices)).value_or(num_choices));
  if (request.best_of < parameters.num_choices) refuse("'best_of' must be at least 'n'", "best_of");
  if (request.best_of > parameters.num_choices && parameters.stream) {
    refuse("'best_of' beyond 'n' can't be streamed: the best is known at the end", "best_of");
  }
  fields.only("suffix", {"\"\""});
  fields.finish();
  return request;
}

ChatRequest parse_chat_request(std::string_view body, const nn::SamplingDefaults& defaults) {
  const Json json = parse_body(body);
  FieldReader fields(json, "");
  ChatRequest request;
  request.parameters = read_parameters(fields, defaults);
  request.conversation.messages = read_messages(fields);
  nn::SamplingOptions& sampling = request.parameters.sampling;
  const auto old_limit = fields.integer("max_tokens", 1, kMaxTokens);
  const auto limit = fields.integer("max_completion_tokens", 1, kMaxTokens);
  if (old_limit && limit && *old_limit != *limit) {
    refuse("'max_tokens' and 'max_completion_tokens' differ; use the latter alone", "max_tokens");
  }
  // Without a limit the answer may fill the context.
  sampling.max_tokens = limit || old_limit ? static_cast<std::size_t>(limit ? *limit : *old_limit)
                                           : defaults.max_tokens.value_or(kMaxTokens);
  request.logprobs = fields.boolean("logprobs").value_or(false);
  if (const auto count = fields.integer("top_logprobs", 0, kMaxLogprobs)) {
    if (!request.logprobs) refuse("'top_logprobs' needs 'logprobs': true", "top_logprobs");
    sampling.logprobs = static_cast<std::size_t>(*count);
  }
  fields.only("response_format", {R"({"type":"text"})"});
  fields.only("modalities", {R"(["text"])"});
  Json& tools = request.conversation.tools = read_tools(fields);
  fields.only("tool_choice", {R"("none")", R"("auto")"});
  if (fields.string("tool_choice") == "none") tools = nullptr;
  fields.boolean("parallel_tool_calls");
  if (!tools.is_null()) fields.only("parallel_tool_calls", {"true"});
  request.conversation.variables = read_template_variables(fields);
  fields.only("functions", {"[]"});
  fields.only("function_call", {R"("none")", R"("auto")"});
  fields.only("store", {"false"});
  fields.only("metadata", {"{}"});
  fields.only("service_tier", {R"("auto")", R"("default")"});
  for (const char* unsupported : {"audio", "prediction", "reasoning_effort", "verbosity", "web_search_options"}) {
    fields.only(unsupported, {});
  }
  fields.label("safety_identifier");
  fields.label("prompt_cache_key");
  fields.finish();
  return request;
}

}  // namespace mobula::serve::openai
