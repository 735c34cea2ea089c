/// A small blocking HTTP client for tests: sends exactly the bytes it is given.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace mobula::serve {

struct TestResponse {
  int status = 0;                              ///< 0 where the connection ended before a whole answer
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string body;                            ///< chunks joined
};

/// One connection. Reads give up after ten seconds.
class TestClient {
 public:
  explicit TestClient(std::uint16_t port);
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;
  ~TestClient() { close(); }

  void send(std::string_view bytes);
  /// Reads the head and the body of the next answer.
  TestResponse read_response(bool head_only = false);
  /// Reads until `text` has come; returns everything since the last read, up to and including it.
  std::string read_until(std::string_view text);
  /// Returns true once the server closed the connection, after reading what it still sent.
  bool wait_for_close();
  void close();

  static std::string post(std::string_view path, std::string_view body, std::string_view headers = "");
  static std::string get(std::string_view path, std::string_view headers = "");
  /// Sends one request over a connection of its own.
  static TestResponse exchange(std::uint16_t port, std::string_view request);

 private:
  bool receive();

  int descriptor_ = -1;
  std::string buffer_;
};

}  // namespace mobula::serve
