#include "mobula/serve/test_client.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>

namespace mobula::serve {

TestClient::TestClient(std::uint16_t port) : descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const timeval timeout{.tv_sec = 10, .tv_usec = 0};
  ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
}

void TestClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return;  // the server closed: the reads say so
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

bool TestClient::receive() {
  std::array<char, 1 << 16> bytes;
  const ssize_t count = ::recv(descriptor_, bytes.data(), bytes.size(), 0);
  if (count <= 0) return false;
  buffer_.append(bytes.data(), static_cast<std::size_t>(count));
  return true;
}

std::string TestClient::read_until(std::string_view text) {
  std::size_t found = 0;
  while ((found = buffer_.find(text)) == std::string::npos) {
    if (!receive()) return std::exchange(buffer_, {});
  }
  std::string result = buffer_.substr(0, found + text.size());
  buffer_.erase(0, result.size());
  return result;
}

TestResponse TestClient::read_response(bool head_only) {
  TestResponse response;
  const std::string head = read_until("\r\n\r\n");
  if (!head.ends_with("\r\n\r\n") || !head.starts_with("HTTP/1.1 ")) return response;
  const int status = std::stoi(head.substr(9, 3));
  for (std::size_t line = head.find("\r\n") + 2; line + 2 < head.size();) {
    const std::size_t end = head.find("\r\n", line);
    const std::size_t colon = head.find(": ", line);
    std::string name = head.substr(line, colon - line);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    response.headers[name] = head.substr(colon + 2, end - colon - 2);
    line = end + 2;
  }
  if (status == 100) return read_response();
  if (head_only) {
    response.status = status;
    return response;
  }
  if (response.headers.contains("content-length")) {
    const std::size_t size = std::stoul(response.headers["content-length"]);
    while (buffer_.size() < size) {
      if (!receive()) return response;
    }
    response.body = buffer_.substr(0, size);
    buffer_.erase(0, size);
  } else {
    while (true) {
      const std::string line = read_until("\r\n");
      if (!line.ends_with("\r\n")) return response;
      const std::size_t size = std::stoul(line, nullptr, 16);
      while (buffer_.size() < size + 2) {
        if (!receive()) return response;
      }
      response.body += buffer_.substr(0, size);
      buffer_.erase(0, size + 2);
      if (size == 0) break;
    }
  }
  response.status = status;
  return response;
}

bool TestClient::wait_for_close() {
  while (receive()) {
  }
  return errno != EAGAIN && errno != EWOULDBLOCK;
}

void TestClient::close() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

std::string TestClient::post(std::string_view path, std::string_view body, std::string_view headers) {
  return fmt::format(
      "POST {} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n{}Content-Length: {}\r\n\r\n{}", path,
      headers, body.size(), body);
}

std::string TestClient::get(std::string_view path, std::string_view headers) {
  return fmt::format("GET {} HTTP/1.1\r\nHost: test\r\n{}\r\n", path, headers);
}

TestResponse TestClient::exchange(std::uint16_t port, std::string_view request) {
  TestClient client(port);
  client.send(request);
  return client.read_response();
}

}  // namespace mobula::serve
