/// Questions to the head of a Ray cluster that Ray's C++ API does not ask: whether it is there, takes our token and
/// runs our version, which nodes it has, how an actor died. Ray's global control service speaks gRPC: a POST over
/// HTTP/2 with a protobuf message each way, read here field by field (src/ray/protobuf/gcs_service.proto of Ray).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace mobula_ray {

/// One field of a protobuf message.
struct Field {
  std::uint32_t number = 0;
  std::uint64_t integer = 0;  ///< of varints and fixed64
  std::string bytes;          ///< of strings, bytes and messages
};
/// Reads a message's fields. Throws std::runtime_error where it is cut short.
std::vector<Field> read_message(const std::string& bytes);

enum class Answer { ok, unreachable, bad_token, failed };

struct Reply {
  Answer answer = Answer::failed;
  std::string message;  ///< the reply's bytes, or what went wrong
};

struct NodeInfo {
  std::string id;  ///< hexadecimal
  std::string address;
  bool alive = false;
  std::map<std::string, double> total, available;
  std::map<std::string, std::string> labels;
};

class GcsClient {
 public:
  /// `address`: host:port. The token is taken from where Ray takes it: RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH,
  /// or ~/.ray/auth_token.
  explicit GcsClient(std::string address, int timeout_ms);

  /// Calls a method, such as "NodeInfoGcsService/CheckAlive".
  Reply call(const std::string& method, const std::string& request) const;
  /// Returns the cluster's nodes, dead ones too. Throws std::runtime_error.
  std::vector<NodeInfo> nodes() const;

 private:
  std::string address_;
  int timeout_ms_;
  std::string token_;
};

/// Appends a field that holds bytes to a message.
void append_bytes(std::string& message, std::uint32_t number, const std::string& bytes);

}  // namespace mobula_ray
