// The server's own cost: HTTP without work under wrk, and tokens streamed to eight clients from an engine that takes no
// time. Client and server share the machine. Usage: bench_serve [--json] [--seconds N]
#include <fmt/format.h>
#include <sys/resource.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/subprocess.hpp"
#include "mobula/serve/http/server.hpp"
#include "mobula/serve/openai/service.hpp"
#include "mobula/serve/text_generator.hpp"

namespace {

using namespace mobula;
using Clock = std::chrono::steady_clock;
using boost::asio::ip::tcp;

bool as_json = false;

void report(std::string_view metric, double value, std::string_view unit, std::string_view note = "") {
  if (as_json) {
    fmt::print("{}\n",
               to_line({{"bench", "serve"}, {"metric", metric}, {"value", value}, {"unit", unit}, {"peer", "mobula"}}));
  } else {
    fmt::print("{:<34} {:>12.1f} {:<12} {}\n", metric, value, unit, note);
  }
}

double processor_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Reads "12.3us", "1.2ms" or "1.2s" as microseconds.
double microseconds(const std::string& text) {
  char* unit = nullptr;
  const double value = std::strtod(text.c_str(), &unit);
  if (std::strcmp(unit, "ms") == 0) return value * 1e3;
  return std::strcmp(unit, "s") == 0 ? value * 1e6 : value;
}

void measure_no_op(int connections, int seconds) {
  serve::http::Server server({}, [](std::shared_ptr<serve::http::Exchange> exchange) {
    exchange->respond({.content_type = "text/plain", .body = "ok"});
  });
  server.start();
  Subprocess wrk(
      {"wrk", "-t1", fmt::format("-c{}", connections), fmt::format("-d{}s", seconds), "--latency", server.url() + "/"},
      {.capture_stdout = true});
  while (const auto line = wrk.read_line()) {
    const std::size_t value = line->find_last_of(' ') + 1;
    const std::string name = fmt::format("c{}", connections);
    if (line->starts_with("Requests/sec:"))
      report("noop_requests_per_s_" + name, std::stod(line->substr(value)), "1/s");
    if (line->find("  50%") != std::string::npos)
      report("noop_p50_us_" + name, microseconds(line->substr(value)), "us");
    if (line->find("  99%") != std::string::npos)
      report("noop_p99_us_" + name, microseconds(line->substr(value)), "us");
    if (line->find("Non-2xx") != std::string::npos) throw Error(ErrorCode::internal, *line);
  }
  if (wrk.wait() != 0) throw Error(ErrorCode::unavailable, "wrk failed", "apt-get install wrk");
}

/// Answers every request with the letter 'a' until its limit, as fast as it is asked.
class InstantEngine : public nn::GenerationEngine {
 public:
  const nn::EngineInfo& info() const override { return info_; }
  RequestId submit(nn::GenerationRequest request) override {
    const std::lock_guard lock(mutex_);
    queued_.push_back(std::move(request));
    return 1;
  }
  void cancel(RequestId) override {}
  bool step() override {
    {
      const std::lock_guard lock(mutex_);
      for (auto& request : queued_) running_.emplace_back(std::move(request), 0);
      queued_.clear();
    }
    std::erase_if(running_, [](auto& one) {
      const bool last = ++one.second == one.first.sampling.max_tokens;
      one.first.on_token({.id = 'a', .finish = last ? nn::FinishReason::length : nn::FinishReason::none});
      return last;
    });
    return !running_.empty();
  }
  std::size_t num_requests() const override { return running_.size(); }

 private:
  nn::EngineInfo info_{.family = "instant", .vocab_size = 256, .context = 1 << 20, .eos_ids = {0}};
  std::mutex mutex_;
  std::vector<nn::GenerationRequest> queued_;
  std::vector<std::pair<nn::GenerationRequest, std::size_t>> running_;
};

// Sends one request and reads the connection to its end.
std::size_t read_stream(std::uint16_t port, const std::string& body) {
  boost::asio::io_context io;
  tcp::socket socket(io);
  socket.connect({boost::asio::ip::address_v4::loopback(), port});
  const std::string request =
      fmt::format("POST /v1/completions HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}",
                  body.size(), body);
  boost::asio::write(socket, boost::asio::buffer(request));
  std::vector<char> buffer(1 << 16);
  std::size_t total = 0;
  boost::system::error_code error;
  while (!error) total += socket.read_some(boost::asio::buffer(buffer), error);
  return total;
}

void measure_streams(int clients, std::size_t tokens) {
  serve::openai::Service service({.id = "m",
                                  .generator = std::make_shared<serve::TextGenerator>(std::make_unique<InstantEngine>(),
                                                                                      text::make_byte_tokenizer())},
                                 {});
  serve::http::Server server(
      {}, [&](std::shared_ptr<serve::http::Exchange> exchange) { service.handle(std::move(exchange)); });
  server.start();
  for (const bool stream : {true, false}) {
    const std::string body = to_line({{"model", "m"}, {"prompt", "x"}, {"max_tokens", tokens}, {"stream", stream}});
    const double processor_before = processor_seconds();
    const auto start = Clock::now();
    std::vector<std::thread> threads;
    for (int i = 0; i < clients; ++i) threads.emplace_back([&] { read_stream(server.port(), body); });
    for (std::thread& thread : threads) thread.join();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const double all = static_cast<double>(tokens) * clients;
    const std::string name = fmt::format("{}_8_clients", stream ? "streamed" : "whole");
    report(name + "_tokens_per_s", all / seconds, "1/s");
    report(name + "_us_per_token", (processor_seconds() - processor_before) * 1e6 / all, "us",
           "processor time, clients included");
  }
}

}  // namespace

int main(int argc, char** argv) {
  int seconds = 4;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--json") == 0) as_json = true;
    if (std::strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) seconds = std::atoi(argv[++i]);
  }
  try {
    for (const int connections : {1, 8, 64}) measure_no_op(connections, seconds);
    measure_streams(8, 50'000);
  } catch (const std::exception& error) {
    std::fputs(describe(error).c_str(), stderr);
    return 1;
  }
  return 0;
}
