/// An HTTP/1.1 server: connections are read and written on a few threads, handlers answer when they like.
///
///     http::Server server({.port = 8000}, [](std::shared_ptr<http::Exchange> exchange) {
///       exchange->respond({.body = "{}"});
///     });
///     server.start();
///     ...
///     server.drain(30s);
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "mobula/serve/http/exchange.hpp"

namespace mobula::serve::http {

/// Where and within which limits to serve.
struct ServerOptions {
  std::string host = "127.0.0.1";                        ///< a name or address; loopback unless told
  std::uint16_t port = 0;                                ///< 0 picks a free one
  std::size_t num_threads = 0;                           ///< that read and write; 0: one a processor, at most 4
  std::size_t max_connections = 1024;                    ///< beyond, clients get 503
  std::size_t max_header_bytes = std::size_t{64} << 10;  ///< request line and headers; beyond, 431
  std::size_t max_body_bytes = std::size_t{8} << 20;     ///< beyond, 413
  std::size_t max_queued_bytes = std::size_t{4} << 20;   ///< of a streamed answer that its client doesn't read
  std::size_t offload_bytes = std::size_t{32} << 10;     ///< handlers of larger bodies run on a thread of their own
  std::chrono::milliseconds header_timeout{10'000};      ///< from a request's first byte to its headers' end
  std::chrono::milliseconds body_timeout{60'000};        ///< for the whole body
  std::chrono::milliseconds idle_timeout{75'000};        ///< between requests of one connection
  std::chrono::milliseconds write_timeout{30'000};       ///< for a client to take what was sent
  /// Makes the answer to what the server itself refuses (400, 408, 413, 431, 503) from status and reason.
  std::function<Response(int status, std::string_view reason)> error_response;

  /// Throws Error(invalid_argument) naming the option that makes no sense.
  void validate() const;
};

/// Answers one request. Runs on a thread of the server: must not block for long. An exception that leaves it is answered
/// with 500 and logged.
using Handler = std::function<void(std::shared_ptr<Exchange>)>;

/// What the server is doing.
struct ServerStatus {
  std::size_t num_connections = 0;
  std::size_t num_requests = 0;  ///< being answered
  bool draining = false;
};

/// The server. Thread-safe.
class Server {
 public:
  Server(ServerOptions options, Handler handler);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  /// Stops at once.
  ~Server();

  /// Binds, listens and starts the threads. Throws Error(io) where the address is in use or not ours.
  void start();
  /// Returns the port that is listened on.
  std::uint16_t port() const;
  /// Returns "http://HOST:PORT".
  std::string url() const;
  ServerStatus status() const;
  /// Stops accepting, lets the requests in flight end for at most `timeout`, then closes what is left (their on_disconnect
  /// runs) and stops. Returns whether all ended by themselves.
  bool drain(std::chrono::milliseconds timeout);
  /// Closes everything and joins the threads.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mobula::serve::http
