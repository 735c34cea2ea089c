#include "mobula/jobs/log_stream.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <chrono>
#include <optional>
#include <utility>

#include "mobula/base/version.hpp"
#include "mobula/http/http_client.hpp"

namespace mobula::jobs {
namespace {

namespace beast = boost::beast;
namespace websocket = beast::websocket;
namespace asio = boost::asio;
using asio::ip::tcp;

constexpr std::chrono::milliseconds kAskEvery{100};
constexpr std::chrono::seconds kConnectTime{20};
constexpr std::size_t kMaxMessage = std::size_t{64} << 20;

/// Runs asynchronous operations one by one, and looks in between whether it is to stop.
class Steps {
 public:
  explicit Steps(const std::function<bool()>& stop) : stop_(stop) {}

  asio::io_context context;

  /// Runs the operation that `start` begins. Returns false where `stop` came before its end.
  template <class Start>
  bool run(beast::error_code& error, Start&& start) {
    std::optional<beast::error_code> result;
    start([&result](beast::error_code code, auto&&...) { result = code; });
    context.restart();
    while (!result) {
      context.run_one_for(kAskEvery);  // the socket's timers stay: run_for() would wait its time out
      if (!result && stop_()) return false;
    }
    error = *result;
    return true;
  }

 private:
  const std::function<bool()>& stop_;
};

}  // namespace

LogStream::LogStream(JobAddress address, std::string token, std::string id)
    : address_(std::move(address)), token_(std::move(token)), id_(std::move(id)) {}

namespace {

/// Talks over a stream that is connected; returns false where it was stopped.
template <class Stream>
bool talk(Steps& steps, websocket::stream<Stream>& socket, const JobAddress& address, const std::string& token,
          const std::string& id, const std::function<void(std::string_view)>& use, beast::error_code& error) {
  beast::get_lowest_layer(socket).expires_never();
  websocket::stream_base::timeout timeouts{kConnectTime, std::chrono::seconds(60), true};
  socket.set_option(timeouts);  // a ping where nothing comes for half a minute: jobs may be silent for hours
  socket.set_option(websocket::stream_base::decorator([&](websocket::request_type& request) {
    request.set(beast::http::field::user_agent, std::string("mobula/") + std::string(version()));
    if (!token.empty()) request.set(beast::http::field::authorization, "Bearer " + token);
  }));
  socket.read_message_max(kMaxMessage);
  const std::string host = address.host + ":" + std::to_string(address.port);
  const std::string target = address.path + "/api/jobs/" + http::percent_encode(id) + "/logs/tail";
  if (!steps.run(error, [&](auto done) { socket.async_handshake(host, target, done); })) return false;
  beast::flat_buffer buffer;
  while (!error) {
    if (!steps.run(error, [&](auto done) { socket.async_read(buffer, done); })) return false;
    if (error) break;
    use({static_cast<const char*>(buffer.data().data()), buffer.size()});
    buffer.consume(buffer.size());
  }
  return true;
}

}  // namespace

LogStream::End LogStream::follow(const std::function<void(std::string_view)>& use, const std::function<bool()>& stop) {
  std::uint64_t seen = 0;  // on this connection
  const auto take = [&](std::string_view text) {
    const std::uint64_t known = std::min<std::uint64_t>(text.size(), given_ > seen ? given_ - seen : 0);
    seen += text.size();
    if (text.size() > known) use(text.substr(known));
    given_ = std::max(given_, seen);
  };
  Steps steps(stop);
  beast::error_code error;
  const auto ended = [&](bool whole) {
    if (!whole) return End::stopped;
    if (error == websocket::error::closed) return End::closed;
    problem_ = error.message();
    return End::broken;
  };
  std::string name = address_.host;
  if (name.starts_with('[') && name.ends_with(']')) name = name.substr(1, name.size() - 2);
  tcp::resolver resolver(steps.context);
  tcp::resolver::results_type places;
  if (!steps.run(error, [&](auto done) {
        resolver.async_resolve(name, std::to_string(address_.port),
                               [&places, done](beast::error_code code, tcp::resolver::results_type found) mutable {
                                 places = std::move(found);
                                 done(code);
                               });
      })) {
    return End::stopped;
  }
  if (error) return ended(true);
  const auto connect = [&](beast::tcp_stream& stream) {
    stream.expires_after(kConnectTime);
    return steps.run(error, [&](auto done) { stream.async_connect(places, done); });
  };
  if (!address_.tls) {
    websocket::stream<beast::tcp_stream> socket(steps.context);
    if (!connect(beast::get_lowest_layer(socket))) return End::stopped;
    if (error) return ended(true);
    return ended(talk(steps, socket, address_, token_, id_, take, error));
  }
  asio::ssl::context tls(asio::ssl::context::tls_client);
  tls.set_default_verify_paths();
  websocket::stream<beast::ssl_stream<beast::tcp_stream>> socket(steps.context, tls);
  auto& secure = socket.next_layer();
  secure.set_verify_mode(asio::ssl::verify_peer);
  secure.set_verify_callback(asio::ssl::host_name_verification(name));
  SSL_set_tlsext_host_name(secure.native_handle(), name.c_str());
  if (!connect(beast::get_lowest_layer(socket))) return End::stopped;
  if (error) return ended(true);
  if (!steps.run(error, [&](auto done) { secure.async_handshake(asio::ssl::stream_base::client, done); }))
    return End::stopped;
  if (error) return ended(true);
  return ended(talk(steps, socket, address_, token_, id_, take, error));
}

}  // namespace mobula::jobs
