#include "mobula/serve/openai/service.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "mobula/base/error.hpp"
#include "mobula/serve/test_client.hpp"
#include "mobula/serve/test_engine.hpp"

namespace mobula::serve::openai {
namespace {

using namespace std::chrono_literals;

/// The API over real sockets, in front of an engine that repeats its prompt; every byte is a token.
class ServiceTest : public testing::Test {
 protected:
  void start(ServiceOptions options = {}, TextGeneratorOptions generator_options = {}) {
    auto engine = std::make_unique<TestEngine>(TestEngine::Options{.adapters = adapters_});
    engine_ = engine.get();
    generator_ = std::make_shared<TextGenerator>(std::move(engine), text::make_byte_tokenizer(), generator_options);
    options.server_status = [this] { return server_->status(); };
    service_ = std::make_unique<Service>(ServedModel{.id = "tiny",
                                                     .generator = generator_,
                                                     .render_chat =
                                                         [](const text::Conversation& chat) {
                                                           if (chat.messages[0]["content"] == "refuse me")
                                                             throw_invalid("the template refuses");
                                                           std::string text;
                                                           if (!chat.tools.is_null()) text += to_line(chat.tools);
                                                           if (!chat.variables.empty()) text += to_line(chat.variables);
                                                           for (const Json& message : chat.messages)
                                                             text += message["content"].get<std::string>();
                                                           return text;
                                                         }},
                                         std::move(options));
    server_ = std::make_unique<http::Server>(
        http::ServerOptions{.error_response = Service::error_response},
        [this](std::shared_ptr<http::Exchange> exchange) { service_->handle(std::move(exchange)); });
    server_->start();
  }
  void TearDown() override { server_.reset(); }

  TestResponse exchange(std::string_view request) { return TestClient::exchange(server_->port(), request); }
  TestResponse post(std::string_view path, std::string_view body) { return exchange(TestClient::post(path, body)); }
  /// Posts fields beside the model and a prompt; expects success.
  Json complete(std::string_view fields, std::string_view prompt = "\"abc\"") {
    const TestResponse response =
        post("/v1/completions", fmt::format(R"({{"model":"tiny","prompt":{},{}}})", prompt, fields));
    EXPECT_EQ(response.status, 200) << response.body;
    return parse_json(response.body, "answer");
  }
  Json chat(std::string_view fields) {
    const TestResponse response =
        post("/v1/chat/completions",
             fmt::format(R"({{"model":"tiny","messages":[{{"role":"user","content":"abc"}}],{}}})", fields));
    EXPECT_EQ(response.status, 200) << response.body;
    return parse_json(response.body, "answer");
  }
  /// Splits a stream into the JSON of its events; checks that it ends with [DONE].
  static std::vector<Json> events(const std::string& body) {
    std::vector<Json> result;
    for (std::size_t at = 0; at < body.size();) {
      const std::size_t end = body.find("\n\n", at);
      EXPECT_EQ(body.substr(at, 6), "data: ");
      const std::string data = body.substr(at + 6, end - at - 6);
      at = end + 2;
      if (data == "[DONE]") {
        EXPECT_EQ(at, body.size());
        return result;
      }
      result.push_back(parse_json(data, "event"));
    }
    ADD_FAILURE() << "no [DONE]: " << body;
    return result;
  }
  template <class Condition>
  static bool eventually(Condition condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }

  std::vector<std::string> adapters_;
  TestEngine* engine_ = nullptr;
  std::shared_ptr<TextGenerator> generator_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<http::Server> server_;
};

TEST_F(ServiceTest, ListsItsModel) {
  start();
  const Json list = parse_json(exchange(TestClient::get("/v1/models")).body, "answer");
  EXPECT_EQ(list["object"], "list");
  EXPECT_EQ(list["data"][0]["id"], "tiny");
  EXPECT_EQ(list["data"][0]["object"], "model");
  EXPECT_EQ(parse_json(exchange(TestClient::get("/v1/models/tiny")).body, "answer")["id"], "tiny");
  const TestResponse missing = exchange(TestClient::get("/v1/models/other"));
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(parse_json(missing.body, "answer")["error"]["code"], "model_not_found");
}

TEST_F(ServiceTest, Completes) {
  start();
  const Json answer = complete(R"("max_tokens":5,"temperature":0,"seed":0)");
  EXPECT_EQ(answer["object"], "text_completion");
  EXPECT_EQ(answer["model"], "tiny");
  EXPECT_TRUE(answer["id"].get<std::string>().starts_with("cmpl-"));
  EXPECT_EQ(answer["choices"][0]["text"], "abcab");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(answer["choices"][0]["logprobs"], Json());
  EXPECT_EQ(to_line(answer["usage"]), R"({"prompt_tokens":3,"completion_tokens":5,"total_tokens":8})");
}

TEST_F(ServiceTest, ChatsAndFillsTheContextWithoutALimit) {
  start();
  const Json answer = chat(R"("seed":0)");
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_EQ(answer["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(answer["choices"][0]["message"]["content"].get<std::string>().size(), 125u);
  EXPECT_EQ(chat(R"("seed":0,"max_completion_tokens":2)")["choices"][0]["message"]["content"], "ab");
}

TEST_F(ServiceTest, StreamsCompletions) {
  start();
  const TestResponse response = post(
      "/v1/completions",
      R"({"model":"tiny","prompt":"abc","max_tokens":4,"seed":0,"stream":true,"stream_options":{"include_usage":true}})");
  EXPECT_EQ(response.headers.at("content-type"), "text/event-stream; charset=utf-8");
  const std::vector<Json> all = events(response.body);
  std::string text;
  for (std::size_t i = 0; i + 1 < all.size(); ++i) {
    text += all[i]["choices"][0]["text"].get<std::string>();
    EXPECT_EQ(all[i]["usage"], Json());
    EXPECT_EQ(all[i]["id"], all[0]["id"]);
  }
  EXPECT_EQ(text, "abca");
  EXPECT_EQ(all[all.size() - 2]["choices"][0]["finish_reason"], "length");
  EXPECT_TRUE(all.back()["choices"].empty());
  EXPECT_EQ(all.back()["usage"]["total_tokens"], 7);
}

TEST_F(ServiceTest, ShowsToolsAndVariablesToTheTemplate) {
  start();
  // The engine repeats its prompt.
  const std::string tools = R"([{"type":"function","function":{"name":"f"}}])";
  const auto content = [&](std::size_t max_tokens, const char* more) {
    const std::string fields = fmt::format(R"("seed":0,"max_tokens":{},"tools":{},{})", max_tokens, tools, more);
    return chat(fields)["choices"][0]["message"]["content"].get<std::string>();
  };
  const std::string shown = tools + R"({"style":"x"}abc)";
  EXPECT_EQ(content(shown.size(), R"("chat_template_kwargs":{"style":"x"})"), shown);
  EXPECT_EQ(content(3, R"("tool_choice":"none")"), "abc");
}

TEST_F(ServiceTest, StreamsChats) {
  start();
  const TestResponse response = post(
      "/v1/chat/completions",
      R"({"model":"tiny","messages":[{"role":"user","content":"hi"}],"max_tokens":4,"seed":0,"stream":true,"n":2})");
  const std::vector<Json> all = events(response.body);
  EXPECT_EQ(all[0]["object"], "chat.completion.chunk");
  EXPECT_EQ(to_line(all[0]["choices"][0]["delta"]), R"({"role":"assistant","content":""})");
  EXPECT_EQ(all[1]["choices"][0]["index"], 1);
  std::string text[2];
  int ends = 0;
  for (const Json& event : all) {
    const Json& choice = event["choices"][0];
    text[choice["index"].get<int>()] += choice["delta"].value("content", "");
    if (!choice["finish_reason"].is_null()) ++ends;
    EXPECT_FALSE(event.contains("usage"));
  }
  EXPECT_EQ(text[0], "hihi");
  EXPECT_EQ(text[1], "ijij");
  EXPECT_EQ(ends, 2);
}

TEST_F(ServiceTest, StopsAtStopStrings) {
  start();
  const Json answer = complete(R"("max_tokens":50,"seed":0,"stop":["ca"])");
  EXPECT_EQ(answer["choices"][0]["text"], "ab");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  const TestResponse streamed =
      post("/v1/completions", R"({"model":"tiny","prompt":"abc","max_tokens":50,"seed":0,"stop":"ca","stream":true})");
  std::string text;
  for (const Json& event : events(streamed.body)) text += event["choices"][0]["text"].get<std::string>();
  EXPECT_EQ(text, "ab");
}

TEST_F(ServiceTest, AnswersSeveralPromptsAndChoices) {
  start();
  const Json answer = complete(R"("max_tokens":2,"n":2,"seed":0)", R"(["ab",[99,100]])");
  ASSERT_EQ(answer["choices"].size(), 4u);
  EXPECT_EQ(answer["choices"][0]["text"], "ab");
  EXPECT_EQ(answer["choices"][1]["text"], "bc");
  EXPECT_EQ(answer["choices"][2]["text"], "ef");
  EXPECT_EQ(answer["choices"][3]["index"], 3);
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 4);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 8);
}

TEST_F(ServiceTest, WritesLogprobsOfCompletions) {
  start();
  const Json answer = complete(R"("max_tokens":2,"seed":0,"logprobs":2)", "\"\xc3\xa9\x61\"");
  const Json& logprobs = answer["choices"][0]["logprobs"];
  EXPECT_EQ(logprobs["token_logprobs"], Json({-0.125, -0.25}));
  EXPECT_EQ(logprobs["text_offset"], Json({0, 0}));
  EXPECT_EQ(
      complete(R"("max_tokens":3,"seed":0,"logprobs":0)", "\"\xc3\xa9\x61\"")["choices"][0]["logprobs"]["text_offset"],
      Json({0, 0, 1}));
  // As OpenAI names tokens that are a part of a character: two of them are not one name.
  EXPECT_EQ(logprobs["tokens"], Json({"bytes:\\xc3", "bytes:\\xa9"}));
  EXPECT_EQ(to_line(logprobs["top_logprobs"][0]), R"({"bytes:\\xc3":-0.125,"bytes:\\xc4":-1.125})");
  const Json plain = complete(R"("max_tokens":1,"seed":0,"logprobs":2)")["choices"][0]["logprobs"];
  EXPECT_EQ(plain["tokens"], Json({"a"}));
  EXPECT_EQ(to_line(plain["top_logprobs"]), R"([{"a":-0.125,"b":-1.125}])");
}

TEST_F(ServiceTest, WritesLogprobsOfChats) {
  start();
  const Json answer = chat(R"("max_tokens":2,"seed":0,"logprobs":true,"top_logprobs":1)");
  EXPECT_EQ(
      to_line(answer["choices"][0]["logprobs"]["content"][1]),
      R"({"token":"b","logprob":-0.25,"bytes":[98],"top_logprobs":[{"token":"b","logprob":-0.25,"bytes":[98]}]})");
}

TEST_F(ServiceTest, GivesTheBytesOfPartsOfCharactersInChats) {
  start();
  const Json answer = parse_json(
      post(
          "/v1/chat/completions",
          "{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":\"\xc3\xa9\"}],\"max_tokens\":1,\"seed\":0,"
          "\"logprobs\":true}")
          .body,
      "answer");
  EXPECT_EQ(to_line(answer["choices"][0]["logprobs"]["content"][0]),
            "{\"token\":\"\xef\xbf\xbd\",\"logprob\":-0.125,\"bytes\":[195],\"top_logprobs\":[]}");
}

TEST_F(ServiceTest, EchoesPromptsWithTheirLogprobs) {
  start();
  const Json answer = complete(R"("max_tokens":1,"seed":0,"logprobs":1,"echo":true)");
  EXPECT_EQ(answer["choices"][0]["text"], "abca");
  const Json& logprobs = answer["choices"][0]["logprobs"];
  EXPECT_EQ(logprobs["tokens"], Json({"a", "b", "c", "a"}));
  EXPECT_EQ(logprobs["token_logprobs"], Json({nullptr, -0.5, -0.5, -0.125}));
  EXPECT_EQ(logprobs["text_offset"], Json({0, 1, 2, 3}));
  EXPECT_EQ(logprobs["top_logprobs"][0], Json());
}

TEST_F(ServiceTest, CountsOffsetsOfAnEchoInCharacters) {
  start();
  const Json answer = complete(R"("max_tokens":1,"seed":0,"logprobs":0,"echo":true)", "\"\xc3\xa9\x61\"");
  EXPECT_EQ(answer["choices"][0]["logprobs"]["text_offset"], Json({0, 0, 1, 2}));
}

TEST_F(ServiceTest, ScoresAPromptAlone) {
  start();
  const Json answer = complete(R"("max_tokens":0,"logprobs":1,"echo":true)");
  EXPECT_EQ(answer["choices"][0]["text"], "abc");
  EXPECT_EQ(answer["choices"][0]["logprobs"]["tokens"].size(), 3u);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 0);
}

TEST_F(ServiceTest, ServesAdaptersAsModels) {
  adapters_ = {"clerk", "poet"};
  start();
  const Json models = parse_json(exchange(TestClient::get("/v1/models")).body, "answer")["data"];
  ASSERT_EQ(models.size(), 3u);
  EXPECT_EQ(models[0]["id"], "tiny");
  EXPECT_EQ(models[2]["id"], "poet");
  EXPECT_EQ(models[2]["parent"], "tiny");
  const auto ask = [&](const std::string& model, std::string_view path, std::string_view prompt) {
    const TestResponse response =
        post(path, fmt::format(R"({{"model":"{}",{},"max_tokens":3,"seed":0}})", model, prompt));
    return parse_json(response.body, "answer");
  };
  const Json poem = ask("poet", "/v1/completions", R"("prompt":"abc")");
  EXPECT_EQ(poem["model"], "poet");
  EXPECT_EQ(poem["choices"][0]["text"], "cde");
  EXPECT_EQ(ask("tiny", "/v1/completions", R"("prompt":"abc")")["choices"][0]["text"], "abc");
  const Json chat = ask("clerk", "/v1/chat/completions", R"("messages":[{"role":"user","content":"abc"}])");
  EXPECT_EQ(chat["choices"][0]["message"]["content"], "bcd");
  EXPECT_EQ(ask("prophet", "/v1/completions", R"("prompt":"abc")")["error"]["code"], "model_not_found");
}

TEST_F(ServiceTest, AnswersTheLikeliestOfBestOf) {
  start();
  const Json answer = complete(R"("max_tokens":3,"seed":0,"best_of":3)");
  EXPECT_EQ(answer["choices"].size(), 1u);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 9);
}

TEST_F(ServiceTest, RefusesPromptsOverTheContext) {
  start();
  const TestResponse response =
      post("/v1/completions", fmt::format(R"({{"model":"tiny","prompt":"{}"}})", std::string(128, 'x')));
  EXPECT_EQ(response.status, 400);
  const Json error = parse_json(response.body, "answer")["error"];
  EXPECT_EQ(error["code"], "context_length_exceeded");
  EXPECT_EQ(error["param"], "prompt");
  EXPECT_NE(error["message"].get<std::string>().find("128"), std::string::npos);
}

TEST_F(ServiceTest, RefusesInOpenAisShape) {
  start();
  const std::pair<std::string, int> cases[] = {
      {TestClient::post("/v1/completions", "{"), 400},
      {TestClient::post("/v1/completions", R"({"model":"other","prompt":"x"})"), 404},
      {TestClient::post("/v1/completions", R"({"model":"tiny","prompt":""})"), 400},
      {TestClient::post("/v1/completions", R"({"model":"tiny","prompt":[999]})"), 400},
      {TestClient::post("/v1/completions", R"({"model":"tiny","prompt":"x","logit_bias":{"999":1}})"), 400},
      {TestClient::post("/v1/completions", R"({"model":"tiny","prompt":"x","tools":[]})"), 400},
      {TestClient::post("/v1/chat/completions",
                        R"({"model":"tiny","messages":[{"role":"user","content":"refuse me"}]})"),
       400},
      {TestClient::post("/v1/embeddings", "{}"), 404},
      {TestClient::get("/v1/completions"), 405},
      {TestClient::post("/v1/models", "{}"), 405},
      {TestClient::get("/"), 404},
      {"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n", 413},
      {"nonsense\r\n\r\n", 400},
  };
  for (const auto& [request, status] : cases) {
    const TestResponse response = exchange(request);
    EXPECT_EQ(response.status, status) << request;
    const Json body = parse_json(response.body, "answer");
    for (const char* key : {"message", "type", "param", "code"}) EXPECT_TRUE(body["error"].contains(key)) << request;
  }
}

TEST_F(ServiceTest, AsksForTheKeyBelowV1Only) {
  start({.api_key = "secret"});
  EXPECT_EQ(exchange(TestClient::get("/v1/models")).status, 401);
  EXPECT_EQ(exchange(TestClient::get("/v1/models", "Authorization: Bearer wrong\r\n")).status, 401);
  EXPECT_EQ(exchange(TestClient::get("/v1/models", "Authorization: Bearer secret1\r\n")).status, 401);
  EXPECT_EQ(exchange(TestClient::get("/v1/models", "Authorization: secret\r\n")).status, 401);
  EXPECT_EQ(exchange(TestClient::get("/v1/models", "authorization: Bearer secret\r\n")).status, 200);
  EXPECT_EQ(exchange(TestClient::get("/healthz")).status, 200);
  EXPECT_EQ(exchange(TestClient::get("/v1/models", "Authorization: Bearer wrong\r\n")).body.find("wrong"),
            std::string::npos);
}

TEST_F(ServiceTest, CancelsWhenTheClientGoesAwayInAStream) {
  start();
  TestClient client(server_->port());
  engine_->hold();
  client.send(
      TestClient::post("/v1/completions", R"({"model":"tiny","prompt":"abc","max_tokens":100,"stream":true,"n":2})"));
  ASSERT_TRUE(eventually([&] { return generator_->num_requests() == 2; }));
  client.close();
  EXPECT_TRUE(eventually([&] { return engine_->num_cancelled() == 2; }));
  EXPECT_TRUE(eventually([&] { return generator_->num_requests() == 0; }));
  engine_->release();
  EXPECT_EQ(complete(R"("max_tokens":1,"seed":0)")["choices"][0]["text"], "a");
  EXPECT_NE(exchange(TestClient::get("/metrics")).body.find("mobula_disconnects_total 1\n"), std::string::npos);
}

TEST_F(ServiceTest, CancelsWhenTheClientOfAWholeAnswerGoesAway) {
  start();
  TestClient client(server_->port());
  engine_->hold();
  client.send(
      TestClient::post("/v1/chat/completions", R"({"model":"tiny","messages":[{"role":"user","content":"x"}]})"));
  ASSERT_TRUE(eventually([&] { return generator_->num_requests() == 1; }));
  client.close();
  EXPECT_TRUE(eventually([&] { return engine_->num_cancelled() == 1; }));
}

TEST_F(ServiceTest, BatchesTheRequestsOfManyClients) {
  start();
  engine_->hold();
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      EXPECT_EQ(complete(R"("max_tokens":100,"seed":0)")["choices"][0]["text"].get<std::string>().size(), 100u);
    });
  }
  ASSERT_TRUE(eventually([&] { return generator_->num_requests() == 8; }));
  engine_->release();
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(engine_->largest_batch(), 8u);
}

TEST_F(ServiceTest, RefusesWhatItsQueueCannotHold) {
  start({}, {.max_requests = 2});
  engine_->hold();
  const TestResponse response = post("/v1/completions", R"({"model":"tiny","prompt":"abc","n":3})");
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.headers.at("retry-after"), "1");
  EXPECT_TRUE(eventually([&] { return generator_->num_requests() == 0; }));
}

TEST_F(ServiceTest, TellsAFailedEngineEverywhere) {
  start();
  engine_->hold();
  TestClient whole(server_->port()), streamed(server_->port());
  whole.send(TestClient::post("/v1/completions", R"({"model":"tiny","prompt":"abc"})"));
  streamed.send(TestClient::post("/v1/completions", R"({"model":"tiny","prompt":"abc","stream":true})"));
  ASSERT_TRUE(eventually([&] { return generator_->num_requests() == 2; }));
  engine_->break_down();
  EXPECT_EQ(whole.read_response().status, 500);
  EXPECT_EQ(streamed.read_response().status, 500);
  EXPECT_EQ(exchange(TestClient::get("/healthz")).status, 503);
  EXPECT_EQ(post("/v1/completions", R"({"model":"tiny","prompt":"abc"})").status, 503);
}

TEST_F(ServiceTest, FinishesAStreamWhileItDrains) {
  start();
  TestClient client(server_->port());
  engine_->hold();
  client.send(
      TestClient::post("/v1/completions", R"({"model":"tiny","prompt":"abc","max_tokens":50,"seed":0,"stream":true})"));
  ASSERT_TRUE(eventually([&] { return generator_->num_requests() == 1; }));
  std::thread drainer([&] { EXPECT_TRUE(server_->drain(10s)); });
  ASSERT_TRUE(eventually([&] { return server_->status().draining; }));
  engine_->release();
  EXPECT_NE(client.read_response().body.find("[DONE]"), std::string::npos);
  drainer.join();
}

TEST_F(ServiceTest, ReportsHealthAndMetrics) {
  start();
  complete(R"("max_tokens":5)");
  EXPECT_EQ(exchange(TestClient::get("/healthz")).body, R"({"status":"ok"})");
  // The server learns a moment later that the clients before this one have gone.
  std::string metrics;
  EXPECT_TRUE(eventually([&] {
    metrics = exchange(TestClient::get("/metrics")).body;
    return metrics.find("mobula_connections 1\n") != std::string::npos;
  }));
  for (const char* line :
       {"mobula_http_requests_total{route=\"/v1/completions\",status=\"200\"} 1\n", "mobula_generated_tokens_total 5\n",
        "mobula_prompt_tokens_total 3\n", "mobula_request_seconds_count 1\n",
        "mobula_request_seconds_bucket{le=\"+Inf\"} 1\n", "mobula_connections 1\n"}) {
    EXPECT_NE(metrics.find(line), std::string::npos) << line << metrics;
  }
}

TEST_F(ServiceTest, AnswersPipelinedApiRequestsInOrder) {
  start();
  TestClient client(server_->port());
  std::string all;
  for (int i = 1; i <= 5; ++i) {
    all += TestClient::post("/v1/completions",
                            fmt::format(R"({{"model":"tiny","prompt":"abc","seed":0,"max_tokens":{}}})", i));
  }
  client.send(all);
  for (int i = 1; i <= 5; ++i) {
    const Json answer = parse_json(client.read_response().body, "answer");
    EXPECT_EQ(answer["choices"][0]["text"].get<std::string>().size(), static_cast<std::size_t>(i));
  }
}

}  // namespace
}  // namespace mobula::serve::openai
