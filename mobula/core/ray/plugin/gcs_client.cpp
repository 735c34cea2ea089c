#include "mobula/core/ray/plugin/gcs_client.hpp"

#include <curl/curl.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <stdexcept>

namespace mobula_ray {
namespace {

constexpr std::size_t kMaxReply = std::size_t{64} << 20;
constexpr int kUnauthenticated = 16;  ///< gRPC's status code

std::uint64_t read_varint(const std::string& bytes, std::size_t& at) {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (at >= bytes.size()) throw std::runtime_error("a reply of Ray's head is cut short");
    const auto byte = static_cast<unsigned char>(bytes[at++]);
    value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  throw std::runtime_error("a reply of Ray's head holds a number that is too long");
}

std::string take(const std::string& bytes, std::size_t& at, std::uint64_t size) {
  if (size > bytes.size() - at) throw std::runtime_error("a reply of Ray's head is cut short");
  std::string taken = bytes.substr(at, static_cast<std::size_t>(size));
  at += static_cast<std::size_t>(size);
  return taken;
}

std::string read_token() {
  const auto first_line = [](const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    return line;
  };
  if (const char* token = std::getenv("RAY_AUTH_TOKEN")) return token;
  if (const char* path = std::getenv("RAY_AUTH_TOKEN_PATH")) return first_line(path);
  if (const char* home = std::getenv("HOME")) return first_line(std::string(home) + "/.ray/auth_token");
  return {};
}

std::size_t append_body(char* data, std::size_t size, std::size_t count, void* into) {
  auto& body = *static_cast<std::string*>(into);
  if (body.size() + size * count > kMaxReply) return 0;
  body.append(data, size * count);
  return size * count;
}

struct Status {
  int code = -1;
  std::string message;
};

std::size_t read_header(char* data, std::size_t size, std::size_t count, void* into) {
  auto& status = *static_cast<Status*>(into);
  const std::string line(data, size * count);
  const auto value = [&](std::size_t start) {
    std::string text = line.substr(start);
    while (!text.empty() && (text.back() == '\r' || text.back() == '\n')) text.pop_back();
    return text;
  };
  if (line.compare(0, 13, "grpc-status: ") == 0) status.code = std::atoi(value(13).c_str());
  if (line.compare(0, 14, "grpc-message: ") == 0) status.message = value(14);
  return size * count;
}

double as_double(std::uint64_t bits) {
  double value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

std::string hexadecimal(const std::string& bytes) {
  static const char* const digits = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    text += digits[(static_cast<unsigned char>(c) >> 4) & 15];
    text += digits[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

std::pair<std::string, double> read_amount(const std::string& entry) {
  std::pair<std::string, double> amount;
  for (const Field& field : read_message(entry)) {
    if (field.number == 1) amount.first = field.bytes;
    if (field.number == 2) amount.second = as_double(field.integer);
  }
  return amount;
}

NodeInfo read_node(const std::string& bytes) {
  NodeInfo node;
  node.alive = true;  // protobuf leaves out fields that are 0, and 0 is alive
  for (const Field& field : read_message(bytes)) {
    if (field.number == 1) node.id = hexadecimal(field.bytes);
    if (field.number == 2) node.address = field.bytes;
    if (field.number == 7) node.alive = field.integer == 0;
    if (field.number == 11) node.total.insert(read_amount(field.bytes));
    if (field.number == 26) {
      std::pair<std::string, std::string> label;
      for (const Field& part : read_message(field.bytes)) {
        (part.number == 1 ? label.first : label.second) = part.bytes;
      }
      node.labels.insert(label);
    }
  }
  return node;
}

}  // namespace

std::vector<Field> read_message(const std::string& bytes) {
  std::vector<Field> fields;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::uint64_t tag = read_varint(bytes, at);
    Field field;
    field.number = static_cast<std::uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0:
        field.integer = read_varint(bytes, at);
        break;
      case 1: {
        const std::string value = take(bytes, at, 8);
        std::memcpy(&field.integer, value.data(), 8);
        break;
      }
      case 2: {
        const std::uint64_t size = read_varint(bytes, at);
        field.bytes = take(bytes, at, size);
        break;
      }
      case 5: {
        const std::string value = take(bytes, at, 4);
        std::memcpy(&field.integer, value.data(), 4);
        break;
      }
      default:
        throw std::runtime_error("a reply of Ray's head holds a field of an unknown kind");
    }
    fields.push_back(std::move(field));
  }
  return fields;
}

void append_bytes(std::string& message, std::uint32_t number, const std::string& bytes) {
  const auto varint = [&](std::uint64_t value) {
    while (value >= 0x80) {
      message += static_cast<char>((value & 0x7F) | 0x80);
      value >>= 7;
    }
    message += static_cast<char>(value);
  };
  varint((static_cast<std::uint64_t>(number) << 3) | 2);
  varint(bytes.size());
  message += bytes;
}

GcsClient::GcsClient(std::string address, int timeout_ms)
    : address_(std::move(address)), timeout_ms_(timeout_ms), token_(read_token()) {}

Reply GcsClient::call(const std::string& method, const std::string& request) const {
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), &curl_easy_cleanup);
  if (curl == nullptr) return {Answer::failed, "libcurl could not be started"};
  // gRPC frames a message with a flag (not compressed) and its size, highest byte first.
  std::string body(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) body += static_cast<char>((request.size() >> shift) & 0xFF);
  body += request;
  curl_slist* raw = nullptr;
  for (const std::string& header :
       {std::string("content-type: application/grpc"), std::string("te: trailers"), std::string("accept:"),
        token_.empty() ? std::string("x-no-token: 1") : "authorization: Bearer " + token_}) {
    raw = curl_slist_append(raw, header.c_str());
  }
  const std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(raw, &curl_slist_free_all);
  const std::string url = "http://" + address_ + "/ray.rpc." + method;
  std::string answer;
  Status status;
  char error[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
  curl_easy_setopt(curl.get(), CURLOPT_PROXY, "");
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(timeout_ms_));
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(timeout_ms_));
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, body.data());
  curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &append_body);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERFUNCTION, &read_header);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERDATA, &status);
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, error);
  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK) return {Answer::unreachable, error[0] != '\0' ? error : curl_easy_strerror(code)};
  if (status.code == kUnauthenticated) return {Answer::bad_token, status.message};
  if (status.code != 0) {
    return {Answer::failed, status.message.empty() ? "it does not answer as a Ray head does" : status.message};
  }
  if (answer.size() < 5) return {Answer::failed, "its answer is empty"};
  return {Answer::ok, answer.substr(5)};
}

std::vector<NodeInfo> GcsClient::nodes() const {
  const Reply all = call("NodeInfoGcsService/GetAllNodeInfo", {});
  if (all.answer != Answer::ok) throw std::runtime_error(all.message);
  std::vector<NodeInfo> nodes;
  for (const Field& field : read_message(all.message)) {
    if (field.number == 2) nodes.push_back(read_node(field.bytes));
  }
  const Reply available = call("NodeResourceInfoGcsService/GetAllAvailableResources", {});
  if (available.answer != Answer::ok) throw std::runtime_error(available.message);
  for (const Field& field : read_message(available.message)) {
    if (field.number != 2) continue;
    std::string id;
    std::map<std::string, double> amounts;
    for (const Field& part : read_message(field.bytes)) {
      if (part.number == 1) id = hexadecimal(part.bytes);
      if (part.number == 2) amounts.insert(read_amount(part.bytes));
    }
    for (NodeInfo& node : nodes) {
      if (node.id == id) node.available = amounts;
    }
  }
  return nodes;
}

}  // namespace mobula_ray
