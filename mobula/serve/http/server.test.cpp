#include "mobula/serve/http/server.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "mobula/base/error.hpp"
#include "mobula/serve/test_client.hpp"

namespace mobula::serve::http {
namespace {

using namespace std::chrono_literals;

/// Waits for something another thread does; ten seconds mean it never happens.
class Signal {
 public:
  void set() {
    const std::lock_guard lock(mutex_);
    set_ = true;
    changed_.notify_all();
  }
  bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 10s, [&] { return set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

void echo(const std::shared_ptr<Exchange>& exchange) {
  const Request& request = exchange->request();
  exchange->respond({.content_type = "text/plain",
                     .body = fmt::format("{} {} [{}] {}", request.method, request.path, request.query, request.body)});
}

class ServerTest : public testing::Test {
 protected:
  void start(Handler handler, ServerOptions options = {}) {
    server_ = std::make_unique<Server>(std::move(options), std::move(handler));
    server_->start();
  }
  TestResponse exchange(std::string_view request) { return TestClient::exchange(server_->port(), request); }

  std::unique_ptr<Server> server_;
};

TEST_F(ServerTest, AnswersSeveralRequestsOnOneConnection) {
  start(echo);
  TestClient client(server_->port());
  for (const char* body : {"one", "two", "three"}) {
    client.send(TestClient::post("/a%20b?x=1", body));
    const TestResponse response = client.read_response();
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, fmt::format("POST /a b [x=1] {}", body));
    EXPECT_EQ(response.headers.at("connection"), "keep-alive");
  }
}

TEST_F(ServerTest, AnswersPipelinedRequestsInOrder) {
  start(echo);
  TestClient client(server_->port());
  std::string all;
  for (int i = 0; i < 50; ++i) all += TestClient::post("/", std::to_string(i));
  client.send(all);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(client.read_response().body, fmt::format("POST / [] {}", i));
}

TEST_F(ServerTest, ReadsARequestThatComesByteByByte) {
  start(echo);
  TestClient client(server_->port());
  for (const char byte : TestClient::post("/slow", "body")) client.send(std::string_view(&byte, 1));
  EXPECT_EQ(client.read_response().body, "POST /slow [] body");
}

TEST_F(ServerTest, ReadsChunkedBodies) {
  start(echo);
  EXPECT_EQ(exchange("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "3\r\nabc\r\n2;extension=1\r\nde\r\n0\r\n\r\n")
                .body,
            "POST / [] abcde");
}

TEST_F(ServerTest, AnswersHeadWithoutABody) {
  start(echo);
  TestClient client(server_->port());
  client.send("HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n");
  const TestResponse response = client.read_response(true);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.at("content-length"), "11");
  client.send(TestClient::get("/y"));
  EXPECT_EQ(client.read_response().body, "GET /y [] ");
}

TEST_F(ServerTest, ClosesTheConnectionOfOldClients) {
  start(echo);
  TestClient client(server_->port());
  client.send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_EQ(client.read_response().headers.at("connection"), "close");
  EXPECT_TRUE(client.wait_for_close());
}

TEST_F(ServerTest, StreamsToOldClientsUntilTheEndOfTheConnection) {
  start([](const std::shared_ptr<Exchange>& exchange) {
    exchange->start_stream({.body = "a"});
    exchange->write("b");
    exchange->finish();
  });
  TestClient client(server_->port());
  client.send("GET / HTTP/1.0\r\n\r\n");
  client.read_until("\r\n\r\n");
  EXPECT_EQ(client.read_until("nothing like this"), "ab");
}

TEST_F(ServerTest, AsksForTheBodyOfClientsThatWait) {
  start(echo);
  TestClient client(server_->port());
  client.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("hi");
  EXPECT_EQ(client.read_response().body, "POST / [] hi");
}

TEST_F(ServerTest, RefusesOtherExpectations) {
  start(echo);
  EXPECT_EQ(exchange("POST / HTTP/1.1\r\nHost: x\r\nExpect: a miracle\r\nContent-Length: 2\r\n\r\n").status, 417);
}

TEST_F(ServerTest, RefusesABodyOverTheLimitBeforeItIsSent) {
  start(echo, {.max_body_bytes = 1000});
  EXPECT_EQ(exchange("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n").status, 413);
  EXPECT_EQ(exchange(TestClient::post("/", std::string(1000, 'x'))).status, 200);
}

TEST_F(ServerTest, LetsAClientThatSendsTooMuchReadTheRefusal) {
  start(echo);
  const TestResponse response = exchange(TestClient::post("/", std::string((8 << 20) + 1, 'x')));
  EXPECT_EQ(response.status, 413);
  EXPECT_EQ(response.body, "the body is larger than 8388608 bytes\n");
}

TEST_F(ServerTest, RefusesAChunkedBodyOverTheLimit) {
  start(echo, {.max_body_bytes = 1000});
  std::string request = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 11; ++i) request += "64\r\n" + std::string(100, 'x') + "\r\n";
  EXPECT_EQ(exchange(request).status, 413);
}

TEST_F(ServerTest, RefusesHeadersOverTheLimit) {
  start(echo);
  EXPECT_EQ(exchange(TestClient::get("/", "X: " + std::string(70'000, 'x') + "\r\n")).status, 431);
  EXPECT_EQ(exchange(TestClient::get("/" + std::string(70'000, 'x'))).status, 431);
}

TEST_F(ServerTest, BoundsChunkExtensions) {
  start(echo);
  const TestResponse response =
      exchange("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;x=" + std::string(1 << 20, 'x') +
               "\r\nabc\r\n0\r\n\r\n");
  EXPECT_TRUE(response.status == 431 || response.status == 400) << response.status;
}

TEST_F(ServerTest, RefusesWhatIsNoHttp) {
  start(echo);
  for (const char* request :
       {"hello\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "GET nowhere HTTP/1.1\r\n\r\n",
        "GET /%zz HTTP/1.1\r\n\r\n", "GET /%00 HTTP/1.1\r\n\r\n", "GET /% HTTP/1.1\r\n\r\n"}) {
    EXPECT_EQ(exchange(request).status, 400) << request;
  }
}

TEST_F(ServerTest, SurvivesTruncatedRequests) {
  start(echo);
  const std::string request = TestClient::post("/", "0123456789");
  for (std::size_t size = 0; size < request.size(); size += 7) {
    TestClient client(server_->port());
    client.send(std::string_view(request).substr(0, size));
    client.close();
  }
  EXPECT_EQ(exchange(request).status, 200);
}

TEST_F(ServerTest, GivesUpOnHeadersThatNeverEnd) {
  start(echo, {.header_timeout = 100ms});
  TestClient client(server_->port());
  client.send("GET / HTTP/1.1\r\nX: ");
  EXPECT_EQ(client.read_response().status, 408);
  EXPECT_TRUE(client.wait_for_close());
}

TEST_F(ServerTest, GivesUpOnBodiesThatNeverEnd) {
  start(echo, {.body_timeout = 100ms});
  TestClient client(server_->port());
  client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_EQ(client.read_response().status, 408);
}

TEST_F(ServerTest, ClosesIdleConnections) {
  start(echo, {.idle_timeout = 100ms});
  TestClient client(server_->port());
  client.send(TestClient::get("/"));
  EXPECT_EQ(client.read_response().status, 200);
  EXPECT_TRUE(client.wait_for_close());
}

TEST_F(ServerTest, ClosesConnectionsThatNeverSendAnything) {
  start(echo, {.header_timeout = 100ms});
  TestClient client(server_->port());
  EXPECT_TRUE(client.wait_for_close());
}

TEST_F(ServerTest, RefusesConnectionsOverTheCap) {
  start(echo, {.max_connections = 2});
  TestClient one(server_->port()), two(server_->port());
  one.send(TestClient::get("/"));
  two.send(TestClient::get("/"));
  EXPECT_EQ(one.read_response().status, 200);
  EXPECT_EQ(two.read_response().status, 200);
  TestClient three(server_->port());
  EXPECT_EQ(three.read_response().status, 503);
  one.close();
  int status = 503;
  for (int attempt = 0; attempt < 500 && status != 200; ++attempt) {
    std::this_thread::sleep_for(10ms);
    status = exchange(TestClient::get("/")).status;
  }
  EXPECT_EQ(status, 200);
}

TEST_F(ServerTest, StreamsPartsAsTheyCome) {
  Signal first_read, second_read;
  std::thread producer;
  start([&](std::shared_ptr<Exchange> exchange) {
    producer = std::thread([&, exchange] {
      exchange->start_stream({.content_type = "text/event-stream"});
      exchange->write("first\n");
      first_read.wait();
      exchange->write("second\n");
      second_read.wait();
      exchange->finish();
    });
  });
  TestClient client(server_->port());
  client.send(TestClient::get("/"));
  EXPECT_NE(client.read_until("first\n").find("text/event-stream"), std::string::npos);
  first_read.set();
  EXPECT_NE(client.read_until("second\n").find("second"), std::string::npos);
  second_read.set();
  EXPECT_NE(client.read_until("0\r\n\r\n").find("0\r\n\r\n"), std::string::npos);
  producer.join();
}

TEST_F(ServerTest, TellsTheHandlerWhenTheClientGoesAway) {
  Signal gone, started;
  std::shared_ptr<Exchange> kept;
  start([&](const std::shared_ptr<Exchange>& exchange) {
    exchange->on_disconnect([&] { gone.set(); });
    kept = exchange;
    started.set();
  });
  TestClient client(server_->port());
  client.send(TestClient::get("/"));
  ASSERT_TRUE(started.wait());
  EXPECT_TRUE(kept->is_open());
  client.close();
  EXPECT_TRUE(gone.wait());
  EXPECT_FALSE(kept->is_open());
  kept->respond({});
}

TEST_F(ServerTest, SeesAClientGoAwayBehindAPipelinedRequest) {
  Signal gone, started;
  std::shared_ptr<Exchange> kept;
  start([&](const std::shared_ptr<Exchange>& exchange) {
    exchange->on_disconnect([&] { gone.set(); });
    exchange->start_stream({});
    kept = exchange;
    started.set();
  });
  TestClient client(server_->port());
  client.send(TestClient::get("/") + TestClient::get("/again"));
  ASSERT_TRUE(started.wait());
  client.close();
  EXPECT_TRUE(gone.wait());
}

TEST_F(ServerTest, GivesUpAStreamThatItsClientDoesNotRead) {
  Signal gone;
  start(
      [&](const std::shared_ptr<Exchange>& exchange) {
        exchange->on_disconnect([&] { gone.set(); });
        exchange->start_stream({});
        const std::string part(1 << 20, 'x');
        for (int i = 0; i < 64; ++i) exchange->write(part);
      },
      {.max_queued_bytes = 8 << 20});
  TestClient client(server_->port());
  client.send(TestClient::get("/"));
  EXPECT_TRUE(gone.wait());
}

TEST_F(ServerTest, GivesUpAWriteThatNeverEnds) {
  Signal gone;
  std::shared_ptr<Exchange> kept;
  start(
      [&](const std::shared_ptr<Exchange>& exchange) {
        exchange->on_disconnect([&] { gone.set(); });
        exchange->start_stream({.body = std::string(32 << 20, 'x')});
        kept = exchange;
      },
      {.max_queued_bytes = 64 << 20, .write_timeout = 100ms});
  TestClient client(server_->port());
  client.send(TestClient::get("/"));
  EXPECT_TRUE(gone.wait());
  kept.reset();
}

TEST_F(ServerTest, AnswersForHandlersThatFailOrForget) {
  start([](const std::shared_ptr<Exchange>& exchange) {
    if (exchange->request().path == "/throw") throw std::runtime_error("boom");
  });
  EXPECT_EQ(exchange(TestClient::get("/throw")).status, 500);
  EXPECT_EQ(exchange(TestClient::get("/forget")).status, 500);
}

TEST_F(ServerTest, BreaksOffAStreamThatIsDropped) {
  start([](const std::shared_ptr<Exchange>& exchange) { exchange->start_stream({.body = "half"}); });
  TestClient client(server_->port());
  client.send(TestClient::get("/"));
  EXPECT_EQ(client.read_response().status, 0);
  EXPECT_TRUE(client.wait_for_close());
}

TEST_F(ServerTest, RunsHandlersOfLargeBodiesBesideTheOthers) {
  Signal blocked, release;
  start(
      [&](const std::shared_ptr<Exchange>& exchange) {
        if (exchange->request().path == "/large") {
          blocked.set();
          release.wait();
        }
        echo(exchange);
      },
      {.num_threads = 1});
  TestClient large(server_->port());
  large.send(TestClient::post("/large", std::string(100'000, 'x')));
  ASSERT_TRUE(blocked.wait());
  EXPECT_EQ(exchange(TestClient::get("/small")).status, 200);
  release.set();
  EXPECT_EQ(large.read_response().status, 200);
}

TEST_F(ServerTest, RefusesAPortThatIsTaken) {
  start(echo);
  Server second({.port = server_->port()}, echo);
  try {
    second.start();
    FAIL() << "two servers on one port";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::io);
    EXPECT_NE(error.message().find(std::to_string(server_->port())), std::string::npos) << error.message();
    EXPECT_NE(error.hint().find("--port"), std::string::npos);
  }
}

TEST_F(ServerTest, RefusesAHostThatIsNotOurs) {
  Server server({.host = "192.0.2.1"}, echo);
  EXPECT_THROW(server.start(), Error);
}

TEST_F(ServerTest, FinishesRequestsInFlightWhileDraining) {
  Signal started, draining;
  std::thread producer;
  start([&](std::shared_ptr<Exchange> exchange) {
    producer = std::thread([&, exchange] {
      exchange->start_stream({.body = "begin "});
      started.set();
      draining.wait();
      exchange->write("end");
      exchange->finish();
    });
  });
  TestClient idle(server_->port()), busy(server_->port());
  busy.send(TestClient::get("/"));
  ASSERT_TRUE(started.wait());
  const std::uint16_t port = server_->port();
  std::thread drainer([&] { EXPECT_TRUE(server_->drain(10s)); });
  while (!server_->status().draining) std::this_thread::yield();
  draining.set();
  EXPECT_EQ(busy.read_response().body, "begin end");
  EXPECT_TRUE(busy.wait_for_close());
  drainer.join();
  EXPECT_TRUE(idle.wait_for_close());
  producer.join();
  Server next({.port = port}, echo);
  next.start();
}

TEST_F(ServerTest, ClosesWhatDoesNotEndWithinTheDrainsTime) {
  Signal started, gone;
  std::shared_ptr<Exchange> kept;
  start([&](const std::shared_ptr<Exchange>& exchange) {
    exchange->on_disconnect([&] { gone.set(); });
    kept = exchange;
    started.set();
  });
  TestClient client(server_->port());
  client.send(TestClient::get("/"));
  ASSERT_TRUE(started.wait());
  EXPECT_FALSE(server_->drain(50ms));
  EXPECT_TRUE(gone.wait());
  EXPECT_TRUE(client.wait_for_close());
  kept->respond({});
  kept.reset();
}

TEST_F(ServerTest, TakesAnswersAfterTheServerHasGone) {
  Signal started;
  std::shared_ptr<Exchange> kept;
  start([&](const std::shared_ptr<Exchange>& exchange) {
    kept = exchange;
    started.set();
  });
  TestClient client(server_->port());
  client.send(TestClient::get("/"));
  ASSERT_TRUE(started.wait());
  server_.reset();
  kept->respond({.body = "too late"});
  kept.reset();
}

TEST_F(ServerTest, CountsConnectionsAndRequests) {
  Signal started;
  std::shared_ptr<Exchange> kept;
  start([&](const std::shared_ptr<Exchange>& exchange) {
    kept = exchange;
    started.set();
  });
  TestClient client(server_->port());
  client.send(TestClient::get("/"));
  ASSERT_TRUE(started.wait());
  EXPECT_EQ(server_->status().num_connections, 1u);
  EXPECT_EQ(server_->status().num_requests, 1u);
  kept->respond({});
  kept.reset();
  EXPECT_EQ(client.read_response().status, 200);
}

TEST(ServerOptions, AreChecked) {
  EXPECT_THROW(Server({.max_connections = 0}, echo), Error);
  EXPECT_THROW(Server({.host = ""}, echo), Error);
  EXPECT_THROW(Server({.header_timeout = 0ms}, echo), Error);
}

}  // namespace
}  // namespace mobula::serve::http
