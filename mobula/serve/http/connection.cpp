#include "mobula/serve/http/connection.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>
#include <ctime>
#include <utility>

#include "mobula/base/log.hpp"

namespace mobula::serve::http {
namespace asio = boost::asio;
namespace beast = boost::beast;
namespace {

using boost::system::error_code;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr auto kNever = Connection::Clock::time_point::max();
constexpr std::size_t kReadBytes = 16 << 10;
// The parser takes a body's bytes out as they come, so this bounds headers, chunk extensions and pipelined requests.
constexpr std::size_t kBufferSlack = 256 << 10;
constexpr std::size_t kMaxPipelinedBytes = 128 << 10;
constexpr std::size_t kMaxLingerBytes = std::size_t{64} << 20;
constexpr auto kLingerTime = std::chrono::seconds(2);

const std::string& date_header() {
  thread_local std::time_t last = 0;
  thread_local std::string text;
  if (const std::time_t now = std::time(nullptr); now != last) {
    last = now;
    text = fmt::format("Date: {:%a, %d %b %Y %H:%M:%S} GMT\r\n", fmt::gmtime(now));
  }
  return text;
}

std::string make_head(const Response& response, bool streamed, const AnswerForm& form) {
  const auto reason = beast::http::obsolete_reason(static_cast<beast::http::status>(response.status));
  std::string head = fmt::format("HTTP/1.1 {} {}\r\n{}Server: mobula\r\n", response.status,
                                 std::string_view(reason.data(), reason.size()), date_header());
  if (!response.content_type.empty()) head += fmt::format("Content-Type: {}\r\n", response.content_type);
  for (const auto& [name, value] : response.headers) head += fmt::format("{}: {}\r\n", name, value);
  if (!streamed) {
    head += fmt::format("Content-Length: {}\r\n", response.body.size());
  } else if (form.chunked) {
    head += "Transfer-Encoding: chunked\r\n";
  }
  head += form.keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  return head;
}

/// Counts a request being answered.
class RequestCount {
 public:
  explicit RequestCount(std::shared_ptr<ConnectionContext> context) : context_(std::move(context)) {
    ++context_->num_requests;
  }
  RequestCount(const RequestCount&) = delete;
  RequestCount& operator=(const RequestCount&) = delete;
  ~RequestCount() {
    if (--context_->num_requests > 0 || !context_->draining) return;
    const std::lock_guard lock(context_->mutex);
    context_->idle.notify_all();
  }

 private:
  std::shared_ptr<ConnectionContext> context_;
};

void call_handler(const ConnectionContext& context, const std::shared_ptr<Exchange>& exchange) {
  try {
    context.handler(exchange);
  } catch (const std::exception& error) {
    log_error("{} {}: {}", exchange->request().method, exchange->request().path, error.what());
    Response response = context.options.error_response(500, "the server failed; its log says more");
    response.status = 500;
    exchange->respond(std::move(response));
  }
}

}  // namespace

Connection::Connection(std::shared_ptr<asio::io_context> io, asio::ip::tcp::socket socket,
                       std::shared_ptr<ConnectionContext> context)
    : io_(std::move(io)),
      socket_(std::move(socket)),
      context_(std::move(context)),
      answer_ready_(*io_),
      buffer_(context_->options.max_header_bytes + kBufferSlack) {
  ++context_->num_connections;
}

Connection::~Connection() {
  if (queue_) queue_->disconnect();
  --context_->num_connections;
}

asio::awaitable<void> Connection::run() {
  const auto self = shared_from_this();
  error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  try {
    while (co_await serve_one()) {
    }
  } catch (const std::exception& error) {
    log_error("a connection failed: {}", error.what());
  }
  if (queue_) queue_->disconnect();
  socket_.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
}

asio::awaitable<void> Connection::refuse() {
  const auto self = shared_from_this();
  co_await refuse_with(503, "too many connections; try again later");
  close();
}

void Connection::check_deadline(Clock::time_point now) {
  if (now < deadline_) return;
  deadline_ = kNever;
  timed_out_ = true;
  error_code ignored;
  socket_.cancel(ignored);
}

void Connection::close_if_idle() {
  error_code ignored;
  if (idle_) socket_.cancel(ignored);
}

void Connection::close() {
  error_code ignored;
  if (queue_) queue_->disconnect();
  socket_.close(ignored);
  wake();
}

void Connection::wake() {
  answer_ready_.cancel();
}

asio::awaitable<bool> Connection::serve_one() {
  const ServerOptions& options = context_->options;
  if (buffer_.size() == 0) {
    if (context_->draining) co_return false;
    idle_ = !first_;
    deadline_ = Clock::now() + (first_ ? options.header_timeout : options.idle_timeout);
    first_ = false;
    const auto [error, count] = co_await socket_.async_read_some(buffer_.prepare(kReadBytes), kTuple);
    idle_ = false;
    if (error) co_return false;
    buffer_.commit(count);
  }
  Parser parser;
  parser.header_limit(static_cast<std::uint32_t>(options.max_header_bytes));
  parser.body_limit(options.max_body_bytes);
  if (!co_await read_request(parser)) co_return false;
  deadline_ = kNever;
  co_return co_await answer(parser);
}

asio::awaitable<bool> Connection::read_request(Parser& parser) {
  using beast::http::error;
  const ServerOptions& options = context_->options;
  deadline_ = Clock::now() + options.header_timeout;
  auto [failure, header_bytes] = co_await beast::http::async_read_header(socket_, buffer_, parser, kTuple);
  if (!failure && !parser.is_done()) {
    const auto expectation = parser.get()[beast::http::field::expect];
    if (!expectation.empty()) {
      if (!beast::iequals(expectation, "100-continue")) {
        co_await refuse_with(417, "this expectation is not supported");
        co_return false;
      }
      if (!co_await send("HTTP/1.1 100 Continue\r\n\r\n")) co_return false;
    }
    deadline_ = Clock::now() + options.body_timeout;
    const auto [body_failure, body_bytes] = co_await beast::http::async_read(socket_, buffer_, parser, kTuple);
    failure = body_failure;
  }
  if (!failure) co_return true;
  if (timed_out_) {
    timed_out_ = false;
    co_await refuse_with(408, "the request took too long to arrive");
  } else if (failure == error::body_limit) {
    co_await refuse_with(413, fmt::format("the body is larger than {} bytes", options.max_body_bytes));
  } else if (failure == error::header_limit || failure == error::buffer_overflow) {
    co_await refuse_with(431, fmt::format("the headers are larger than {} bytes", options.max_header_bytes));
  } else if (failure != error::end_of_stream && failure != error::partial_message &&
             failure.category() == beast::http::make_error_code(error::bad_method).category()) {
    co_await refuse_with(400, fmt::format("not a valid HTTP request: {}", failure.message()));
  }
  co_return false;
}

asio::awaitable<bool> Connection::answer(Parser& parser) {
  auto message = parser.release();
  const auto target = message.target();
  auto parts = split_target(std::string_view(target.data(), target.size()));
  if (!parts || parts->first.empty() || parts->first.front() != '/') {
    co_await refuse_with(400, "the request's target is no valid path");
    co_return false;
  }
  const AnswerForm form{.keep_alive = message.keep_alive(),
                        .chunked = message.version() >= 11,
                        .head_only = message.method() == beast::http::verb::head};
  Request request{.method = std::string(message.method_string()),
                  .path = std::move(parts->first),
                  .query = std::move(parts->second)};
  for (const auto& header : message) {
    request.headers.emplace_back(std::string(header.name_string()), std::string(header.value()));
  }
  request.body = std::move(message.body());

  const RequestCount count(context_);
  const bool large = request.body.size() >= context_->options.offload_bytes;
  queue_ = std::make_shared<AnswerQueue>(form.chunked, context_->options.max_queued_bytes, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) {
      asio::post(*self->io_, [weak] {
        if (const auto connection = weak.lock()) connection->wake();
      });
    }
  });
  const auto queue = queue_;
  {
    auto exchange =
        std::make_shared<Exchange>(std::move(request), queue, [weak = weak_from_this()](std::function<void()> work) {
          if (const auto self = weak.lock()) asio::post(*self->io_, std::move(work));
        });
    if (large) {
      asio::post(context_->offload, [context = context_, exchange = std::move(exchange)]() mutable {
        call_handler(*context, exchange);
        exchange.reset();
      });
    } else {
      call_handler(*context_, exchange);
    }
  }
  bool keep = false;
  if (queue->has_ended()) {
    keep = co_await write_answer(queue, form);
  } else {
    using namespace asio::experimental::awaitable_operators;
    const auto result = co_await (write_answer(queue, form) || watch(queue));
    keep = result.index() == 0 && std::get<0>(result);
  }
  queue->disconnect();
  queue_.reset();
  co_return keep;
}

asio::awaitable<bool> Connection::write_answer(std::shared_ptr<AnswerQueue> queue, AnswerForm form) {
  while (socket_.is_open()) {
    AnswerQueue::Part part = queue->take();
    if (part.empty()) {
      answer_ready_.expires_at(Clock::time_point::max());
      co_await answer_ready_.async_wait(kTuple);
      continue;
    }
    std::string bytes;
    if (part.head) {
      if (context_->draining || (part.streamed && !form.chunked)) form.keep_alive = false;
      bytes = make_head(*part.head, part.streamed, form);
      if (!part.streamed) bytes += part.head->body;
      if (form.head_only) bytes.resize(bytes.find("\r\n\r\n") + 4);
    }
    if (!form.head_only) bytes += part.bytes;
    if (!bytes.empty() && !co_await send(std::move(bytes))) co_return false;
    if (part.aborted) co_return false;
    if (part.finished) co_return form.keep_alive;
  }
  co_return false;
}

asio::awaitable<void> Connection::watch(std::shared_ptr<AnswerQueue> queue) {
  // Reading ahead is the only way to see that a client went away behind a request it pipelined.
  while (buffer_.size() < kMaxPipelinedBytes) {
    const auto [error, count] = co_await socket_.async_read_some(buffer_.prepare(kReadBytes), kTuple);
    if (error) {
      if (error != asio::error::operation_aborted) queue->disconnect();
      co_return;
    }
    buffer_.commit(count);
  }
  asio::steady_timer forever(*io_, Clock::time_point::max());
  co_await forever.async_wait(kTuple);
}

asio::awaitable<bool> Connection::send(std::string bytes) {
  deadline_ = Clock::now() + context_->options.write_timeout;
  const auto [error, count] = co_await asio::async_write(socket_, asio::buffer(bytes), kTuple);
  deadline_ = kNever;
  co_return !error;
}

asio::awaitable<void> Connection::refuse_with(int status, std::string_view reason) {
  Response response = context_->options.error_response(status, reason);
  response.status = status;
  if (co_await send(make_head(response, false, {.keep_alive = false}) + response.body)) co_await linger();
}

// Takes what the client still sends: closing at once would reset the connection, and the client might not see the answer.
asio::awaitable<void> Connection::linger() {
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  deadline_ = Clock::now() + kLingerTime;
  for (std::size_t total = 0; total < kMaxLingerBytes;) {
    buffer_.clear();
    const auto [error, count] = co_await socket_.async_read_some(buffer_.prepare(kReadBytes), kTuple);
    if (error) break;
    total += count;
  }
  deadline_ = kNever;
}

}  // namespace mobula::serve::http
