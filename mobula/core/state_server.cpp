#include "mobula/core/state_server.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/beast/http.hpp>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <fstream>

#include "mobula/base/error.hpp"
#include "mobula/base/log.hpp"
#include "mobula/core/local/frames.hpp"

namespace mobula {
namespace {

/// A client that says nothing for so long is let go.
constexpr auto kPatience = std::chrono::seconds(2);
/// Milliseconds without a question after which nobody looks any more.
constexpr int kAttention = 10'000;
constexpr std::size_t kMaxQuestion = 8192;
constexpr std::size_t kMaxAnswer = std::size_t{1} << 30;

std::string socket_name(pid_t pid) {
  return fmt::format("mobula-state-{}-{}", geteuid(), pid);
}

/// Fills in an address of the abstract namespace; returns its length.
socklen_t abstract_address(const std::string& name, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), std::min(name.size(), sizeof address.sun_path - 1));
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

bool same_user(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == geteuid() || peer.uid == 0;
}

/// Reads until `enough(text)`, the stream's end, the limit, or the end of our patience.
template <class Enough>
std::string read_until(int socket, std::size_t limit, const Enough& enough) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  std::string text;
  while (!enough(text) && text.size() < limit) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd readable{socket, POLLIN, 0};
    if (left.count() <= 0 || poll(&readable, 1, static_cast<int>(left.count())) <= 0) break;
    char buffer[4096];
    const ssize_t got = recv(socket, buffer, std::min(sizeof buffer, limit - text.size()), 0);
    if (got <= 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return text;
}

void set_patience(int socket) {
  const timeval time{kPatience.count(), 0};
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
}

}  // namespace

StateServer::StateServer(int metrics_port, Answer answer) : answer_(std::move(answer)), stop_(eventfd(0, EFD_CLOEXEC)) {
  if (metrics_port != 0) {
    http_ = Descriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    setsockopt(http_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(metrics_port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(http_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        listen(http_.get(), 16) != 0) {
      throw_io(fmt::format("port {} for metrics", metrics_port), errno, "choose another --metrics-port");
    }
  }
  // The rest is done off the path to the first task.
  thread_ = std::thread([this] { serve(); });
}

StateServer::~StateServer() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_.get(), &one, sizeof one);
  thread_.join();
}

void StateServer::serve() {
  pthread_setname_np(pthread_self(), "mobula-state");
  sockaddr_un address;
  const socklen_t length = abstract_address(socket_name(getpid()), address);
  local_ = Descriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!local_ || bind(local_.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0 ||
      listen(local_.get(), 16) != 0) {
    log_debug("mobula top can't look into this program: {}", std::strerror(errno));
    local_.reset();
  }
  for (bool looked = false;;) {
    pollfd polled[] = {{stop_.get(), POLLIN, 0}, {local_.get(), POLLIN, 0}, {http_.get(), POLLIN, 0}};
    const int found = poll(polled, 3, looked ? kAttention : -1);
    if (found < 0 && errno != EINTR) return;
    if (found <= 0) {
      if (looked) answer_("nobody");
      looked = false;
      continue;
    }
    if (polled[0].revents != 0) return;
    looked = true;
    for (int i = 1; i < 3; ++i) {
      if ((polled[i].revents & POLLIN) == 0) continue;
      const Descriptor client(accept4(polled[i].fd, nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) continue;
      set_patience(client.get());
      try {
        if (i == 1) {
          if (same_user(client.get())) answer_local(client.get());
        } else {
          answer_http(client.get());
        }
      } catch (const std::exception& error) {
        log_debug("a look into this program failed: {}", error.what());
      }
    }
  }
}

void StateServer::answer_local(int client) const {
  std::string question =
      read_until(client, kMaxQuestion, [](const std::string& text) { return text.find('\n') != std::string::npos; });
  question.resize(std::min(question.find('\n'), question.size()));
  write_fully(client, answer_(question));
}

void StateServer::answer_http(int client) const {
  namespace http = boost::beast::http;
  const std::string text = read_until(
      client, kMaxQuestion, [](const std::string& head) { return head.find("\r\n\r\n") != std::string::npos; });
  http::request_parser<http::empty_body> parser;
  parser.header_limit(kMaxQuestion);
  boost::beast::error_code wrong;
  parser.put(boost::asio::buffer(text), wrong);
  int status = 200;
  if (wrong || !parser.is_header_done()) {
    status = 400;
  } else if (parser.get().target() != "/metrics") {
    status = 404;
  } else if (parser.get().method() != http::verb::get && parser.get().method() != http::verb::head) {
    status = 405;
  }
  std::string body = status == 200 ? answer_("metrics") : "see /metrics\n";
  const std::string head = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n"
      "Connection: close\r\n\r\n",
      status, std::string(http::obsolete_reason(static_cast<http::status>(status))), body.size());
  if (status == 200 && parser.get().method() == http::verb::head) body.clear();
  write_fully(client, head + body);
}

std::vector<pid_t> find_programs() {
  const std::string prefix = fmt::format("@mobula-state-{}-", geteuid());
  std::vector<pid_t> pids;
  std::ifstream sockets("/proc/net/unix");
  for (std::string line; std::getline(sockets, line);) {
    const std::size_t at = line.find(prefix);
    if (at == std::string::npos) continue;
    pid_t pid = 0;
    const char* digits = line.data() + at + prefix.size();
    if (std::from_chars(digits, line.data() + line.size(), pid).ec == std::errc() &&
        std::find(pids.begin(), pids.end(), pid) == pids.end()) {
      pids.push_back(pid);
    }
  }
  std::sort(pids.begin(), pids.end());
  return pids;
}

std::string ask_program(pid_t pid, std::string_view question) {
  const auto fail = [&](const char* why) {
    throw Error(ErrorCode::unavailable, fmt::format("process {} can't be looked into: {}", pid, why),
                "it must be a running Mobula program of yours (mobula top lists them)");
  };
  sockaddr_un address;
  const socklen_t length = abstract_address(socket_name(pid), address);
  const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) throw_io("a socket can't be made", errno);
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) fail(std::strerror(errno));
  if (!same_user(socket.get())) fail("it belongs to somebody else");
  write_fully(socket.get(), std::string(question) + "\n");
  std::string answer = read_until(socket.get(), kMaxAnswer, [](const std::string&) { return false; });
  if (answer.empty()) fail("it does not answer");
  return answer;
}

}  // namespace mobula
