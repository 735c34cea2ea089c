#include <fmt/format.h>

#include <charconv>
#include <concepts>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <limits>
#include <string_view>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/cli/generate_prompts.hpp"
#include "mobula/cli/language_model.hpp"
#include "mobula/text/conversation.hpp"

namespace mobula::cli {
namespace {

constexpr std::size_t kMaxMembers = 4096;
constexpr std::size_t kMaxChatBytes = std::size_t{1} << 26;

// Reads members of a line; `place` leads messages.
class LineReader {
 public:
  LineReader(const Json& line, std::string place) : line_(line), place_(std::move(place)) {}

  const Json* find(std::string_view key) const {
    const auto found = line_.find(key);
    return found == line_.end() || found->is_null() ? nullptr : &*found;
  }
  [[noreturn]] void refuse(std::string_view key, std::string_view expected) const {
    throw_invalid(fmt::format("{}: '{}' must be {}, not {}", place_, key, expected, to_line(*find(key)).substr(0, 80)));
  }

  void read(std::string_view key, double& value) const {
    if (const Json* member = find(key))
      value = member->is_number() ? member->get<double>() : fail<double>(key, "a number");
  }
  void read(std::string_view key, bool& value) const {
    if (const Json* member = find(key))
      value = member->is_boolean() ? member->get<bool>() : fail<bool>(key, "true or false");
  }
  template <std::unsigned_integral T>
  void read(std::string_view key, T& value) const {
    if (const Json* member = find(key))
      value = member->is_number_unsigned() ? member->get<T>() : fail<T>(key, "a whole number from 0 on");
  }
  void read(std::string_view key, std::string& value) const {
    if (const Json* member = find(key))
      value = member->is_string() ? member->get<std::string>() : fail<std::string>(key, "a string");
  }
  void read(std::string_view key, std::vector<std::string>& value) const {
    const Json* member = find(key);
    if (member == nullptr) return;
    value.clear();
    for (const Json& each : member->is_array() ? *member : Json::array({*member})) {
      value.push_back(each.is_string() ? each.get<std::string>()
                                       : fail<std::string>(key, "a string or an array of strings"));
    }
  }
  void read(std::string_view key, std::vector<nn::TokenId>& value) const {
    const Json* member = find(key);
    if (member == nullptr) return;
    if (!member->is_array()) refuse(key, "an array of token ids");
    value.clear();
    for (const Json& id : *member) {
      const bool fits = id.is_number_unsigned() && id.get<std::uint64_t>() <= std::numeric_limits<nn::TokenId>::max();
      value.push_back(fits ? id.get<nn::TokenId>() : fail<nn::TokenId>(key, "an array of token ids"));
    }
  }
  void read_bias(std::string_view key, std::vector<std::pair<nn::TokenId, double>>& value) const {
    const Json* member = find(key);
    if (member == nullptr) return;
    constexpr std::string_view kExpected = "an object of token ids and numbers";
    if (!member->is_object()) refuse(key, kExpected);
    value.clear();
    for (const auto& [id, bias] : member->items()) {
      value.emplace_back(token_id(id).value_or(-1), bias.is_number() ? bias.get<double>() : 0);
      if (value.back().first < 0 || !bias.is_number()) refuse(key, kExpected);
    }
  }

  static std::optional<nn::TokenId> token_id(std::string_view text) {
    nn::TokenId id = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc() || end != text.data() + text.size() || id < 0) return std::nullopt;
    return id;
  }

 private:
  template <class T>
  T fail(std::string_view key, std::string_view expected) const {
    refuse(key, expected);
  }

  const Json& line_;
  std::string place_;
};

void read_options(const LineReader& line, Prompt& prompt) {
  nn::SamplingOptions& sampling = prompt.sampling;
  line.read("max_tokens", sampling.max_tokens);
  line.read("temperature", sampling.temperature);
  line.read("top_k", sampling.top_k);
  line.read("top_p", sampling.top_p);
  line.read("min_p", sampling.min_p);
  line.read("typical_p", sampling.typical_p);
  line.read("repetition_penalty", sampling.repetition_penalty);
  line.read("presence_penalty", sampling.presence_penalty);
  line.read("frequency_penalty", sampling.frequency_penalty);
  line.read("no_repeat_ngram", sampling.no_repeat_ngram);
  line.read("no_repeat_ngram_size", sampling.no_repeat_ngram);  // as mobula serve and transformers call it
  line.read_bias("logit_bias", sampling.logit_bias);
  line.read("seed", sampling.seed);
  line.read("ignore_eos", sampling.ignore_eos);
  line.read("stop", prompt.stop);
  line.read("adapter", prompt.adapter);
}

// Makes prompts of texts and conversations.
class PromptMaker {
 public:
  PromptMaker(const GenerateOptions& options, const text::Tokenizer* tokenizer, bool continues_prompt)
      : options_(options), tokenizer_(tokenizer), continues_prompt_(continues_prompt) {
    if (!options.tools.empty()) tools_ = read_json(options.tools);
  }

  void take_text(std::string text, Prompt& prompt) const {
    prompt.ids = tokenizer().encode(text);
    prompt.text = std::move(text);
  }
  void take_chat(const Json& value, const std::string& place, Prompt& prompt) {
    text::Conversation conversation = text::read_conversation(value, place);
    if (conversation.tools.is_null()) conversation.tools = tools_;
    if (!chat_) chat_ = load_model_chat_template(options_.model);
    // As mobula serve does it: what joins messages only is given the special tokens that templates write themselves.
    prompt.text = text::render_conversation(*chat_, conversation, !chat_->is_default || continues_prompt_);
    prompt.ids = tokenizer().encode(*prompt.text, chat_->is_default);
    prompt.is_chat = true;
  }
  void take_chat_file(Prompt& prompt) { take_chat(read_json(options_.messages), options_.messages, prompt); }

 private:
  static Json read_json(const std::string& path) { return parse_json(read_file(path, kMaxChatBytes), path); }
  const text::Tokenizer& tokenizer() const {
    if (tokenizer_ != nullptr) return *tokenizer_;
    throw Error(ErrorCode::not_found, fmt::format("{}: no tokenizer.json", options_.model),
                "give token ids with --ids");
  }

  const GenerateOptions& options_;
  const text::Tokenizer* tokenizer_;
  bool continues_prompt_;
  Json tools_;
  std::optional<text::ModelChatTemplate> chat_;  // loaded for the first conversation
};

}  // namespace

nn::SamplingOptions sampling_of(const GenerateOptions& o, const nn::SamplingDefaults& defaults) {
  nn::SamplingOptions sampling = defaults.sampling;
  sampling.max_tokens = o.max_tokens.value_or(defaults.max_tokens.value_or(kDefaultMaxTokens));
  sampling.temperature = o.temperature.value_or(sampling.temperature);
  sampling.top_k = o.top_k.value_or(sampling.top_k);
  sampling.top_p = o.top_p.value_or(sampling.top_p);
  sampling.min_p = o.min_p.value_or(sampling.min_p);
  sampling.typical_p = o.typical_p.value_or(sampling.typical_p);
  sampling.repetition_penalty = o.repetition_penalty.value_or(sampling.repetition_penalty);
  sampling.presence_penalty = o.presence_penalty;
  sampling.frequency_penalty = o.frequency_penalty;
  sampling.no_repeat_ngram = o.no_repeat_ngram.value_or(sampling.no_repeat_ngram);
  sampling.seed = o.seed;
  sampling.ignore_eos = o.ignore_eos;
  sampling.logprobs = o.logprobs.value_or(0);
  for (const std::string& entry : o.logit_bias) {
    const auto equals = entry.find('=');
    const auto id = LineReader::token_id(std::string_view(entry).substr(0, equals));
    double bias = 0;
    const char* const end = entry.data() + entry.size();
    const bool number = equals != std::string::npos && std::from_chars(entry.data() + equals + 1, end, bias) ==
                                                           std::from_chars_result{end, std::errc()};
    if (!id || !number) throw_invalid(fmt::format("--logit-bias {}: expected ID=BIAS, such as 50=-100", entry));
    sampling.logit_bias.emplace_back(*id, bias);
  }
  sampling.validate();
  return sampling;
}

std::vector<Prompt> read_prompts(const GenerateOptions& options, const nn::SamplingDefaults& defaults,
                                 const text::Tokenizer* tokenizer, const nn::EngineInfo& info) {
  Prompt prompt{.text = options.prompt, .sampling = sampling_of(options, defaults), .stop = options.stop};
  PromptMaker maker(options, tokenizer, info.continues_prompt);
  if (info.adapters.size() == 1) prompt.adapter = info.adapters[0];
  if (options.input.empty()) {
    if (info.adapters.size() > 1)
      throw_invalid("there are several adapters", "lines of --input choose by \"adapter\": NAME");
    if (options.prompt) {
      maker.take_text(*options.prompt, prompt);
    } else if (!options.messages.empty()) {
      maker.take_chat_file(prompt);
    } else {
      prompt.ids.assign(options.ids.begin(), options.ids.end());
    }
    return {std::move(prompt)};
  }
  std::ifstream opened;
  const bool standard = options.input == "-";
  if (!standard) opened.open(options.input);
  if (!opened) throw Error(ErrorCode::not_found, fmt::format("{}: can't be opened", options.input));
  std::istream& file = standard ? std::cin : opened;
  std::vector<Prompt> prompts;
  for (std::string text; std::getline(file, text);) {
    const std::string place = fmt::format("{}:{}", options.input, prompts.size() + 1);
    const Json json = parse_json(text, place, {.max_members = kMaxMembers});
    const auto has = [&](const char* key) { return json.is_object() && json.contains(key); };
    const bool has_text = has("prompt") && json["prompt"].is_string();
    if (has("prompt") + has("ids") + has("messages") != 1 || has("prompt") != has_text) {
      throw_invalid(fmt::format(
          "{}: expected an object with the string 'prompt', or one of the arrays 'ids' and 'messages'", place));
    }
    const LineReader line(json, place);
    Prompt& one = prompts.emplace_back(prompt);
    if (has_text) {
      maker.take_text(json["prompt"].get<std::string>(), one);
    } else if (has("messages")) {
      maker.take_chat(json, place, one);
    } else {
      line.read("ids", one.ids);
    }
    read_options(line, one);
    try {
      one.sampling.validate();
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("{}: {}", place, error.message()), error.hint());
    }
    if (!one.stop.empty() && tokenizer == nullptr) {
      throw_invalid(fmt::format("{}: 'stop' needs a tokenizer, and the model has none", place));
    }
  }
  return prompts;
}

}  // namespace mobula::cli
