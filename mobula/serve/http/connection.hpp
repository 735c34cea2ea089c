/// One client's connection: reads requests, hands them to the handler one after the other, writes the answers.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "mobula/serve/http/exchange.hpp"
#include "mobula/serve/http/server.hpp"

namespace mobula::serve::http {

/// What all connections of a server share. Outlives them.
struct ConnectionContext {
  ServerOptions options;
  Handler handler;
  boost::asio::thread_pool offload{1};  // handlers of large bodies
  std::atomic<bool> draining{false};
  std::atomic<std::size_t> num_connections{0};
  std::atomic<std::size_t> num_requests{0};
  std::mutex mutex;              // of `idle`
  std::condition_variable idle;  // num_requests fell to 0
};

/// How the request wants its answer sent.
struct AnswerForm {
  bool keep_alive = true;
  bool chunked = true;     ///< where streamed; HTTP/1.0 clients read to the connection's end instead
  bool head_only = false;  ///< the method is HEAD
};

/// Lives on one thread's io_context; everything but the constructor runs there.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;

  /// `io` is the context the socket lives on.
  Connection(std::shared_ptr<boost::asio::io_context> io, boost::asio::ip::tcp::socket socket,
             std::shared_ptr<ConnectionContext> context);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  /// Serves requests until the client or the server ends it.
  boost::asio::awaitable<void> run();
  /// Refuses the client with 503 and closes.
  boost::asio::awaitable<void> refuse();
  /// Gives up on a deadline that passed.
  void check_deadline(Clock::time_point now);
  /// The server drains: ends the connection where it waits for a request.
  void close_if_idle();
  /// Ends the connection whatever it does.
  void close();

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  boost::asio::awaitable<bool> serve_one();
  boost::asio::awaitable<bool> read_request(Parser& parser);
  boost::asio::awaitable<bool> answer(Parser& parser);
  boost::asio::awaitable<bool> write_answer(std::shared_ptr<AnswerQueue> queue, AnswerForm form);
  boost::asio::awaitable<void> watch(std::shared_ptr<AnswerQueue> queue);
  boost::asio::awaitable<bool> send(std::string bytes);
  boost::asio::awaitable<void> refuse_with(int status, std::string_view reason);
  boost::asio::awaitable<void> linger();
  void wake();

  // A handler's thread may drop the last reference when the server has gone: the context must still be there.
  std::shared_ptr<boost::asio::io_context> io_;
  boost::asio::ip::tcp::socket socket_;
  std::shared_ptr<ConnectionContext> context_;
  boost::asio::steady_timer answer_ready_;
  boost::beast::flat_buffer buffer_;
  Clock::time_point deadline_ = Clock::time_point::max();
  bool timed_out_ = false;
  bool idle_ = false;
  bool first_ = true;
  std::shared_ptr<AnswerQueue> queue_;
};

}  // namespace mobula::serve::http
