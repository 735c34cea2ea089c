#include "mobula/serve/openai/request.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "mobula/base/error.hpp"
#include "mobula/serve/openai/api_error.hpp"

namespace mobula::serve::openai {
namespace {

/// Returns the refusal of a body, or "" where it is accepted.
template <class Parse>
std::string refusal(Parse parse, const std::string& body) {
  try {
    parse(body, {});
    return {};
  } catch (const std::exception& error) {
    const ApiError refused = to_api_error(error);
    EXPECT_EQ(refused.status(), 400) << body;
    return refused.body();
  }
}

std::string completion_refusal(const std::string& fields) {
  return refusal(parse_completion_request, fmt::format(R"({{"model":"m","prompt":"p",{}}})", fields));
}

std::string chat_refusal(const std::string& fields) {
  return refusal(parse_chat_request,
                 fmt::format(R"({{"model":"m","messages":[{{"role":"user","content":"x"}}],{}}})", fields));
}

TEST(CompletionRequest, HasTheApisDefaults) {
  const CompletionRequest request = parse_completion_request(R"({"model":"m","prompt":"p"})");
  EXPECT_EQ(request.parameters.sampling.max_tokens, 16u);
  EXPECT_EQ(request.parameters.sampling.temperature, 1.0);
  EXPECT_EQ(request.parameters.num_choices, 1u);
  EXPECT_EQ(request.best_of, 1u);
  EXPECT_FALSE(request.parameters.stream);
  EXPECT_FALSE(request.parameters.seed.has_value());
  EXPECT_EQ(std::get<std::string>(request.prompts.at(0)), "p");
}

TEST(Requests, TakeWhatTheyDontSayFromTheModelsDefaults) {
  nn::SamplingDefaults defaults{.max_tokens = 7};
  defaults.sampling = {.temperature = 0,
                       .top_k = 20,
                       .top_p = 0.8,
                       .min_p = 0.1,
                       .typical_p = 0.7,
                       .repetition_penalty = 1.2,
                       .no_repeat_ngram = 3};
  const CompletionRequest plain = parse_completion_request(R"({"model":"m","prompt":"p"})", defaults);
  EXPECT_EQ(plain.parameters.sampling.max_tokens, 7u);
  EXPECT_EQ(plain.parameters.sampling.temperature, 0);
  EXPECT_EQ(plain.parameters.sampling.top_k, 20u);
  EXPECT_EQ(plain.parameters.sampling.top_p, 0.8);
  EXPECT_EQ(plain.parameters.sampling.min_p, 0.1);
  EXPECT_EQ(plain.parameters.sampling.typical_p, 0.7);
  EXPECT_EQ(plain.parameters.sampling.repetition_penalty, 1.2);
  EXPECT_EQ(plain.parameters.sampling.no_repeat_ngram, 3u);
  const ChatRequest chat = parse_chat_request(
      R"({"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":9,"temperature":1,"top_k":-1,"top_p":1,
          "min_p":0,"typical_p":1,"repetition_penalty":1,"no_repeat_ngram_size":0})",
      defaults);
  EXPECT_EQ(chat.parameters.sampling.max_tokens, 9u);
  EXPECT_EQ(chat.parameters.sampling.temperature, 1);
  EXPECT_EQ(chat.parameters.sampling.top_k, 0u);
  EXPECT_EQ(chat.parameters.sampling.top_p, 1);
  EXPECT_EQ(chat.parameters.sampling.min_p, 0);
  EXPECT_EQ(chat.parameters.sampling.typical_p, 1);
  EXPECT_EQ(chat.parameters.sampling.repetition_penalty, 1);
  EXPECT_EQ(chat.parameters.sampling.no_repeat_ngram, 0u);
  const char* const unlimited = R"({"model":"m","messages":[{"role":"user","content":"x"}]})";
  EXPECT_EQ(parse_chat_request(unlimited, defaults).parameters.sampling.max_tokens, 7u);
  EXPECT_GT(parse_chat_request(unlimited).parameters.sampling.max_tokens, 1u << 30);
}

TEST(CompletionRequest, ReadsEveryField) {
  const CompletionRequest request = parse_completion_request(
      R"({"model":"m","prompt":["a",[1,2]],"max_tokens":5,"temperature":0.5,"top_p":0.9,"n":2,"best_of":3,"logprobs":4,
          "echo":true,"stop":["x","y"],"presence_penalty":1,"frequency_penalty":-1,"logit_bias":{"7":-100},"seed":-3,
          "user":"u","suffix":null,"stream":false,"top_k":10,"min_p":0.1,"typical_p":0.8,"repetition_penalty":1.1,
          "no_repeat_ngram_size":3,"ignore_eos":true})");
  const nn::SamplingOptions& sampling = request.parameters.sampling;
  EXPECT_EQ(request.prompts.size(), 2u);
  EXPECT_EQ(std::get<1>(request.prompts[1]), (std::vector<nn::TokenId>{1, 2}));
  EXPECT_EQ(sampling.max_tokens, 5u);
  EXPECT_EQ(sampling.temperature, 0.5);
  EXPECT_EQ(sampling.top_p, 0.9);
  EXPECT_EQ(request.parameters.num_choices, 2u);
  EXPECT_EQ(request.best_of, 3u);
  EXPECT_TRUE(request.echo && request.logprobs && sampling.prompt_logprobs && sampling.ignore_eos);
  EXPECT_EQ(sampling.logprobs, 4u);
  EXPECT_EQ(request.parameters.stop, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(sampling.presence_penalty, 1);
  EXPECT_EQ(sampling.frequency_penalty, -1);
  EXPECT_EQ(sampling.logit_bias, (std::vector<std::pair<nn::TokenId, double>>{{7, -100}}));
  EXPECT_EQ(request.parameters.seed, static_cast<std::uint64_t>(-3));
  EXPECT_EQ(sampling.top_k, 10u);
  EXPECT_EQ(sampling.min_p, 0.1);
  EXPECT_EQ(sampling.typical_p, 0.8);
  EXPECT_EQ(sampling.repetition_penalty, 1.1);
  EXPECT_EQ(sampling.no_repeat_ngram, 3u);
}

TEST(CompletionRequest, RefusesBadFieldsByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("max_tokens":-1)", "max_tokens"},
      {R"("max_tokens":1.5)", "max_tokens"},
      {R"("max_tokens":"many")", "max_tokens"},
      {R"("max_tokens":99999999999999999999)", "max_tokens"},
      {R"("temperature":2.1)", "temperature"},
      {R"("temperature":"hot")", "temperature"},
      {R"("top_p":0)", "top_p"},
      {R"("top_p":1.1)", "top_p"},
      {R"("n":0)", "n"},
      {R"("n":1000)", "n"},
      {R"("n":3,"best_of":2)", "best_of"},
      {R"("best_of":2,"stream":true)", "best_of"},
      {R"("logprobs":21)", "logprobs"},
      {R"("logprobs":true)", "logprobs"},
      {R"("echo":"yes")", "echo"},
      {R"("stop":[""])", "stop"},
      {R"("stop":7)", "stop"},
      {R"("stop":["a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a"])", "stop"},
      {R"("presence_penalty":3)", "presence_penalty"},
      {R"("logit_bias":{"x":1})", "logit_bias"},
      {R"("logit_bias":{"-1":1})", "logit_bias"},
      {R"("logit_bias":{"1":101})", "logit_bias"},
      {R"("logit_bias":[1])", "logit_bias"},
      {R"("seed":"x")", "seed"},
      {R"("suffix":"end")", "suffix"},
      {R"("stream":1)", "stream"},
      {R"("stream_options":{"include_usage":true})", "stream_options"},
      {R"("stream":true,"stream_options":{"usage":true})", "stream_options.usage"},
      {R"("stream":true,"stream_options":7)", "stream_options"},
      {R"("user":5)", "user"},
      {R"("min_p":-0.1)", "min_p"},
      {R"("use_beam_search":true)", "use_beam_search"},
  };
  for (const auto& [fields, param] : cases) {
    const std::string body = completion_refusal(fields);
    EXPECT_NE(body.find(fmt::format("\"param\":\"{}\"", param)), std::string::npos) << fields << " " << body;
    EXPECT_NE(body.find("\"type\":\"invalid_request_error\""), std::string::npos) << body;
  }
}

TEST(CompletionRequest, SuggestsTheNearestField) {
  EXPECT_NE(completion_refusal(R"("temprature":1)").find("did you mean 'temperature'?"), std::string::npos);
}

TEST(CompletionRequest, TakesNullAndWholeFloatsAsClientsWriteThem) {
  EXPECT_EQ(completion_refusal(R"("stop":null,"logprobs":null,"max_tokens":5.0,"seed":null)"), "");
}

TEST(CompletionRequest, RefusesBadPrompts) {
  for (const char* prompt :
       {"7", "{}", "[]", "[[]]", "[1,\"a\"]", "[1.5]", "[-1]", "[4294967296]", "[[1],2]", "true"}) {
    EXPECT_NE(refusal(parse_completion_request, fmt::format(R"({{"model":"m","prompt":{}}})", prompt)), "") << prompt;
  }
  EXPECT_NE(refusal(parse_completion_request, R"({"model":"m"})").find("\"prompt\""), std::string::npos);
  EXPECT_NE(refusal(parse_completion_request, R"({"prompt":"p"})").find("\"model\""), std::string::npos);
}

TEST(CompletionRequest, RefusesWhatIsNoJsonObject) {
  for (const std::string body :
       {"", "{", "null", "[]", "\"x\"", "{\"model\":\"m\",}", "{\"model\":\"\xff\"}", "{} {}"}) {
    EXPECT_NE(refusal(parse_completion_request, body), "") << body;
  }
}

TEST(CompletionRequest, BoundsDepthAndMembers) {
  EXPECT_NE(refusal(parse_completion_request, std::string(100'000, '[')).find("nested deeper"), std::string::npos);
  std::string wide = "{";
  for (int i = 0; i < 3000; ++i) wide += fmt::format("\"k{}\":1,", i);
  EXPECT_NE(refusal(parse_completion_request, wide + "\"z\":1}").find("members"), std::string::npos);
}

TEST(ChatRequest, ReadsMessagesAndParts) {
  const ChatRequest request = parse_chat_request(
      R"({"model":"m","messages":[{"role":"developer","content":"d"},{"role":"user","name":"Ann",
          "content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":"c"}],
          "max_completion_tokens":9,"logprobs":true,"top_logprobs":2,"response_format":{"type":"text"},"store":false,
          "tools":[],"tool_choice":"none","modalities":["text"],"service_tier":"auto","parallel_tool_calls":true})");
  EXPECT_EQ(
      to_line(request.conversation.messages),
      R"([{"role":"system","content":"d"},{"role":"user","content":"a\nb","name":"Ann"},{"role":"assistant","content":"c"}])");
  EXPECT_EQ(request.parameters.sampling.max_tokens, 9u);
  EXPECT_TRUE(request.logprobs);
  EXPECT_EQ(request.parameters.sampling.logprobs, 2u);
}

TEST(ChatRequest, ReadsToolsTheirCallsAndWhatTheyGave) {
  const ChatRequest request = parse_chat_request(
      R"({"model":"m","tools":[{"type":"function","function":{"name":"add","description":"d","strict":false,
          "parameters":{"type":"object","properties":{"b":{"type":"number"},"a":{"type":"number"}}}}}],
          "tool_choice":"auto","documents":[{"text":"t"}],"chat_template_kwargs":{"enable_thinking":false},
          "messages":[{"role":"user","content":"2+3?"},
            {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"add",
              "arguments":"{\"b\": 3, \"a\": 2}"}}]},
            {"role":"tool","tool_call_id":"c1","content":[{"type":"text","text":"5"}]}]})");
  EXPECT_EQ(
      to_line(request.conversation.tools),
      R"([{"type":"function","function":{"name":"add","description":"d","strict":false,"parameters":{"type":"object","properties":{"b":{"type":"number"},"a":{"type":"number"}}}}}])");
  EXPECT_EQ(
      to_line(request.conversation.messages),
      R"([{"role":"user","content":"2+3?"},{"role":"assistant","tool_calls":[{"type":"function","id":"c1","function":{"name":"add","arguments":{"b":3,"a":2}}}]},{"role":"tool","content":"5","tool_call_id":"c1"}])");
  EXPECT_EQ(to_line(request.conversation.variables), R"({"enable_thinking":false,"documents":[{"text":"t"}]})");
  const ChatRequest none = parse_chat_request(
      R"({"model":"m","messages":[{"role":"user","content":"x"}],"tool_choice":"none",
          "tools":[{"type":"function","function":{"name":"f"}}]})");
  EXPECT_TRUE(none.conversation.tools.is_null());
}

TEST(ChatRequest, RefusesBadFieldsByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("max_tokens":0)", "max_tokens"},
      {R"("max_tokens":5,"max_completion_tokens":6)", "max_tokens"},
      {R"("top_logprobs":2)", "top_logprobs"},
      {R"("logprobs":2)", "logprobs"},
      {R"("response_format":{"type":"json_object"})", "response_format"},
      {R"("tools":{})", "tools"},
      {R"("tools":[{"type":"function"}])", "tools[0].function"},
      {R"("tools":[{"type":"retrieval"}])", "tools[0].type"},
      {R"("tools":[{"type":"function","function":{"name":"f","strict":true}}])", "tools[0].function.strict"},
      {R"("tools":[{"type":"function","function":{"description":"d"}}])", "tools[0].function.name"},
      {R"("tools":[{"type":"function","function":{"name":"f","parameters":[]}}])", "tools[0].function.parameters"},
      {R"("parallel_tool_calls":false,"tools":[{"type":"function","function":{"name":"f"}}])", "parallel_tool_calls"},
      {R"("documents":"d")", "documents"},
      {R"("chat_template_kwargs":[])", "chat_template_kwargs"},
      {R"("tool_choice":"required")", "tool_choice"},
      {R"("modalities":["text","audio"])", "modalities"},
      {R"("reasoning_effort":"high")", "reasoning_effort"},
      {R"("store":true)", "store"},
      {R"("audio":{})", "audio"},
      {R"("prompt":"p")", "prompt"},
      {R"("echo":true)", "echo"},
  };
  for (const auto& [fields, param] : cases) {
    const std::string body = chat_refusal(fields);
    EXPECT_NE(body.find(fmt::format("\"param\":\"{}\"", param)), std::string::npos) << fields << " " << body;
  }
}

TEST(ChatRequest, RefusesBadMessagesByTheirPlace) {
  const std::pair<const char*, const char*> cases[] = {
      {"[]", "messages"},
      {"\"hi\"", "messages"},
      {"[7]", "messages[0]"},
      {R"([{"role":"user","content":"a"},{"role":"robot","content":"b"}])", "messages[1].role"},
      {R"([{"content":"a"}])", "messages[0].role"},
      {R"([{"role":"user"}])", "messages[0].content"},
      {R"([{"role":"user","content":7}])", "messages[0].content"},
      {R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])", "messages[0].content[0].type"},
      {R"([{"role":"user","content":[{"type":"text"}]}])", "messages[0].content[0].text"},
      {R"([{"role":"user","content":"a","extra":1}])", "messages[0].extra"},
      {R"([{"role":"assistant","content":"a","tool_calls":[{}]}])", "messages[0].tool_calls[0].function"},
      {R"([{"role":"user","content":"a","tool_calls":[]}])", "messages[0].tool_calls"},
      {R"([{"role":"assistant","tool_calls":[]}])", "messages[0].tool_calls"},
      {R"([{"role":"assistant","tool_calls":[{"function":{"arguments":"{}"}}]}])",
       "messages[0].tool_calls[0].function.name"},
      {R"([{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{"}}]}])",
       "messages[0].tool_calls[0].function.arguments"},
      {R"([{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"[]"}}]}])",
       "messages[0].tool_calls[0].function.arguments"},
      {R"([{"role":"assistant","content":null}])", "messages[0].content"},
      {R"([{"role":"tool","content":"a"}])", "messages[0].tool_call_id"},
  };
  for (const auto& [messages, param] : cases) {
    const std::string body = refusal(parse_chat_request, fmt::format(R"({{"model":"m","messages":{}}})", messages));
    EXPECT_NE(body.find(fmt::format("\"param\":\"{}\"", param)), std::string::npos) << messages << " " << body;
  }
}

}  // namespace
}  // namespace mobula::serve::openai
