#include "mobula/serve/http/server.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <list>
#include <thread>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/log.hpp"
#include "mobula/serve/http/connection.hpp"

namespace mobula::serve::http {
namespace asio = boost::asio;
namespace {

using asio::ip::tcp;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kRefusedAtOnce = 64;  // beyond the cap: these get an answer, more are just closed

/// A thread with the connections that live on it. Everything but start and join runs on that thread.
class Worker : public std::enable_shared_from_this<Worker> {
 public:
  Worker(std::shared_ptr<ConnectionContext> context, std::chrono::milliseconds sweep_interval)
      : io(std::make_shared<asio::io_context>(1)),
        context_(std::move(context)),
        interval_(sweep_interval),
        sweep_timer_(*io),
        guard_(io->get_executor()) {}

  void start() {
    asio::co_spawn(*io, sweep(), asio::detached);
    thread_ = std::thread([io = io] { io->run(); });
  }

  void adopt(tcp::socket socket) {
    const std::size_t cap = context_->options.max_connections;
    if (stopping_ || context_->num_connections >= cap + kRefusedAtOnce) return;
    const bool refused = context_->num_connections >= cap;
    const auto connection = std::make_shared<Connection>(io, std::move(socket), context_);
    const auto place = connections_.insert(connections_.end(), connection);
    asio::co_spawn(*io, refused ? connection->refuse() : connection->run(),
                   [self = shared_from_this(), place](const std::exception_ptr&) { self->connections_.erase(place); });
  }

  void close_idle() {
    for (const auto& connection : connections_) connection->close_if_idle();
  }

  /// Closes everything, so that the thread ends by itself.
  void shut_down() {
    stopping_ = true;
    sweep_timer_.cancel();
    for (const auto& connection : connections_) connection->close();
    guard_.reset();
  }

  void join() {
    if (thread_.joinable()) thread_.join();
  }

  const std::shared_ptr<asio::io_context> io;

 private:
  // One timer for all connections instead of one a read: a deadline is then a number to set.
  asio::awaitable<void> sweep() {
    while (!stopping_) {
      sweep_timer_.expires_after(interval_);
      co_await sweep_timer_.async_wait(kTuple);
      const auto now = Connection::Clock::now();
      for (const auto& connection : connections_) connection->check_deadline(now);
    }
  }

  std::shared_ptr<ConnectionContext> context_;
  std::chrono::milliseconds interval_;
  asio::steady_timer sweep_timer_;
  asio::executor_work_guard<asio::io_context::executor_type> guard_;
  std::list<std::shared_ptr<Connection>> connections_;
  bool stopping_ = false;
  std::thread thread_;
};

std::size_t count_threads(std::size_t wanted) {
  if (wanted > 0) return wanted;
  return std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, 4);
}

// A quarter of the shortest timeout: none is overrun by more.
std::chrono::milliseconds sweep_interval(const ServerOptions& options) {
  const auto shortest =
      std::min({options.header_timeout, options.body_timeout, options.idle_timeout, options.write_timeout});
  return std::clamp(shortest / 4, std::chrono::milliseconds(5), std::chrono::milliseconds(1000));
}

}  // namespace

void ServerOptions::validate() const {
  if (host.empty()) throw_invalid("serve: host is empty", "write an address, such as 127.0.0.1 or 0.0.0.0");
  if (max_connections == 0) throw_invalid("serve: max_connections is 0", "allow at least one");
  if (num_threads > 1024) throw_invalid(fmt::format("serve: {} threads", num_threads), "use at most 1024");
  if (max_header_bytes < 256 || max_header_bytes > (std::size_t{1} << 30)) {
    throw_invalid(fmt::format("serve: max_header_bytes is {}", max_header_bytes), "use 256 to 1073741824");
  }
  for (const auto timeout : {header_timeout, body_timeout, idle_timeout, write_timeout}) {
    if (timeout.count() <= 0) throw_invalid("serve: a timeout is not positive");
  }
}

struct Server::State {
  std::shared_ptr<ConnectionContext> context = std::make_shared<ConnectionContext>();
  std::vector<std::shared_ptr<Worker>> workers;
  std::unique_ptr<tcp::acceptor> acceptor;  // touched on the first worker's thread once that runs
  std::uint16_t port = 0;
  bool stopped = false;

  asio::awaitable<void> accept() {
    for (std::size_t next = 0;; ++next) {
      const auto& worker = workers[next % workers.size()];
      tcp::socket socket(*worker->io);
      const auto [error] = co_await acceptor->async_accept(socket, kTuple);
      if (!acceptor->is_open()) co_return;
      if (error) {
        // Out of descriptors, or the client was quicker to leave: try again, without spinning.
        asio::steady_timer pause(*workers[0]->io, std::chrono::milliseconds(20));
        co_await pause.async_wait(kTuple);
        continue;
      }
      asio::post(*worker->io, [worker, socket = std::move(socket)]() mutable { worker->adopt(std::move(socket)); });
    }
  }

  void stop_accepting() {
    asio::post(*workers[0]->io, [this] {
      boost::system::error_code ignored;
      acceptor->close(ignored);
    });
  }
};

Server::Server(ServerOptions options, Handler handler) : state_(std::make_unique<State>()) {
  options.validate();
  if (!options.error_response) {
    options.error_response = [](int, std::string_view reason) {
      return Response{.content_type = "text/plain", .body = fmt::format("{}\n", reason)};
    };
  }
  state_->context->options = std::move(options);
  state_->context->handler = std::move(handler);
}

Server::~Server() {
  stop();
}

void Server::start() {
  const ServerOptions& options = state_->context->options;
  const std::size_t num_threads = count_threads(options.num_threads);
  for (std::size_t i = 0; i < num_threads; ++i) {
    state_->workers.push_back(std::make_shared<Worker>(state_->context, sweep_interval(options)));
  }
  asio::io_context& io = *state_->workers[0]->io;
  const std::string place = fmt::format("{}:{}", options.host, options.port);
  const auto fail = [&](const boost::system::error_code& error) {
    state_->workers.clear();
    const bool taken = error == asio::error::address_in_use;
    throw Error(ErrorCode::io, fmt::format("can't listen on {}: {}", place, error.message()),
                taken ? "choose another port with --port, or 0 for a free one" : "check --host and --port");
  };
  boost::system::error_code error;
  tcp::resolver resolver(io);
  const auto addresses = resolver.resolve(options.host, std::to_string(options.port),
                                          tcp::resolver::passive | tcp::resolver::numeric_service, error);
  if (error || addresses.empty()) fail(error);
  const tcp::endpoint endpoint = addresses.begin()->endpoint();
  state_->acceptor = std::make_unique<tcp::acceptor>(io);
  tcp::acceptor& acceptor = *state_->acceptor;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(tcp::acceptor::max_listen_connections, error);
  if (error) {
    state_->acceptor.reset();
    fail(error);
  }
  state_->port = acceptor.local_endpoint().port();
  asio::co_spawn(io, state_->accept(), asio::detached);
  for (const auto& worker : state_->workers) worker->start();
}

std::uint16_t Server::port() const {
  return state_->port;
}

std::string Server::url() const {
  const std::string& host = state_->context->options.host;
  const bool v6 = host.find(':') != std::string::npos;
  return fmt::format("http://{}{}{}:{}", v6 ? "[" : "", host, v6 ? "]" : "", state_->port);
}

ServerStatus Server::status() const {
  const ConnectionContext& context = *state_->context;
  return {
      .num_connections = context.num_connections, .num_requests = context.num_requests, .draining = context.draining};
}

bool Server::drain(std::chrono::milliseconds timeout) {
  if (state_->workers.empty() || state_->stopped) return true;
  ConnectionContext& context = *state_->context;
  context.draining = true;
  state_->stop_accepting();
  for (const auto& worker : state_->workers) asio::post(*worker->io, [worker] { worker->close_idle(); });
  bool ended = false;
  {
    std::unique_lock lock(context.mutex);
    ended = context.idle.wait_for(lock, timeout, [&] { return context.num_requests == 0; });
  }
  stop();
  return ended;
}

void Server::stop() {
  if (state_->stopped) return;
  state_->stopped = true;
  if (state_->workers.empty()) return;
  state_->context->draining = true;
  state_->stop_accepting();
  for (const auto& worker : state_->workers) asio::post(*worker->io, [worker] { worker->shut_down(); });
  for (const auto& worker : state_->workers) worker->join();
  state_->context->offload.join();
}

}  // namespace mobula::serve::http
