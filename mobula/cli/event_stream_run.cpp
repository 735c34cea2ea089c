#include <fmt/format.h>

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>

#include "mobula/base/error.hpp"
#include "mobula/cli/event_stream.hpp"

namespace mobula::cli {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using boost::asio::ip::tcp;

constexpr std::chrono::seconds kSilence{60};
constexpr std::size_t kMaxEventBytes = 1 << 20;

[[noreturn]] void throw_unavailable(const std::string& host, std::uint16_t port, const std::string& reason) {
  throw Error(ErrorCode::unavailable, fmt::format("http://{}:{}: {}", host, port, reason));
}

/// Runs `start` (which begins one asynchronous operation of `stream`) to its end: only so does the stream's deadline
/// hold.
template <class Start>
beast::error_code run_one(boost::asio::io_context& context, beast::tcp_stream& stream, Start&& start) {
  beast::error_code result;
  stream.expires_after(kSilence);
  start([&result](beast::error_code error, auto&&...) { result = error; });
  context.restart();
  context.run();
  return result;
}

/// Gives out the `data:` lines that are whole and takes them off the buffer. Returns false when `on_data` did.
bool give_events(std::string& buffer, const std::function<bool(std::string_view)>& on_data) {
  for (size_t end = buffer.find('\n'); end != std::string::npos; end = buffer.find('\n')) {
    std::string line = buffer.substr(0, end);
    buffer.erase(0, end + 1);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    constexpr std::string_view kPrefix = "data: ";
    if (line.rfind(kPrefix, 0) == 0 && !on_data(std::string_view(line).substr(kPrefix.size()))) return false;
  }
  return true;
}

}  // namespace

void post_event_stream(const std::string& host, std::uint16_t port, const std::string& target, const Json& body,
                       const std::function<bool(std::string_view)>& on_data) {
  boost::asio::io_context context;
  beast::tcp_stream stream(context);
  beast::error_code error;
  const auto address = boost::asio::ip::make_address(host, error);
  if (error) throw_unavailable(host, port, error.message());
  error = run_one(context, stream, [&](auto done) { stream.async_connect(tcp::endpoint(address, port), done); });
  if (error) throw_unavailable(host, port, error.message());

  http::request<http::string_body> request{http::verb::post, target, 11};
  request.set(http::field::host, fmt::format("{}:{}", host, port));
  request.set(http::field::content_type, "application/json");
  request.set(http::field::accept, "text/event-stream");
  request.body() = to_line(body);
  request.prepare_payload();
  error = run_one(context, stream, [&](auto done) { http::async_write(stream, request, done); });
  if (error) throw_unavailable(host, port, error.message());

  beast::flat_buffer input;
  http::response_parser<http::buffer_body> parser;
  parser.body_limit(boost::none);
  error = run_one(context, stream, [&](auto done) { http::async_read_header(stream, input, parser, done); });
  if (error) throw_unavailable(host, port, error.message());

  std::string text;
  std::array<char, 4096> chunk;
  while (!parser.is_done()) {
    auto& room = parser.get().body();
    room.data = chunk.data();
    room.size = chunk.size();
    error = run_one(context, stream, [&](auto done) { http::async_read_some(stream, input, parser, done); });
    if (error && error != http::error::need_buffer) throw_unavailable(host, port, error.message());
    text.append(chunk.data(), chunk.size() - room.size);
    if (text.size() > kMaxEventBytes) throw_unavailable(host, port, "an event longer than 1 MiB");
    if (parser.get().result() == http::status::ok && !give_events(text, on_data)) return;
  }
  if (parser.get().result() != http::status::ok) {
    throw_unavailable(host, port, fmt::format("status {}: {}", parser.get().result_int(), text));
  }
}

}  // namespace mobula::cli
