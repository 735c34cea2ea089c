#include "mobula/core/local/frames.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "mobula/base/error.hpp"

namespace mobula {
namespace {

constexpr std::size_t kHeaderBytes = 5;

}  // namespace

std::string encode_frame(std::uint8_t kind, std::string_view payload) {
  if (payload.size() > kMaxFrameBytes) {
    throw Error(ErrorCode::resource,
                fmt::format("a message of {} bytes is longer than the limit of {}", payload.size(), kMaxFrameBytes),
                "put large data into shared memory or a file, and send where it lies");
  }
  const auto size = static_cast<std::uint32_t>(payload.size());
  std::string bytes;
  bytes.reserve(kHeaderBytes + payload.size());
  bytes.append(reinterpret_cast<const char*>(&size), sizeof size);
  bytes.push_back(static_cast<char>(kind));
  bytes.append(payload);
  return bytes;
}

bool FrameReader::fill(int socket, bool wait) {
  constexpr std::size_t kStep = 65536;
  for (std::size_t total = 0; total < (std::size_t{1} << 20);) {
    if (used_ > kStep && used_ * 2 > buffer_.size()) {
      buffer_.erase(0, used_);
      used_ = 0;
    }
    const std::size_t before = buffer_.size();
    buffer_.resize(before + kStep);
    const ssize_t got = recv(socket, buffer_.data() + before, kStep, wait && total == 0 ? 0 : MSG_DONTWAIT);
    buffer_.resize(before + static_cast<std::size_t>(got > 0 ? got : 0));
    if (got == 0) return false;
    if (got < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN || errno == EWOULDBLOCK;
    }
    total += static_cast<std::size_t>(got);
    num_received_ += static_cast<std::size_t>(got);
  }
  return true;
}

std::optional<Frame> FrameReader::next() {
  if (buffer_.size() - used_ < kHeaderBytes) return std::nullopt;
  std::uint32_t size = 0;
  std::memcpy(&size, buffer_.data() + used_, sizeof size);
  if (size > kMaxFrameBytes) {
    throw Error(ErrorCode::corrupt, fmt::format("a message claims {} bytes; the limit is {}", size, kMaxFrameBytes));
  }
  if (buffer_.size() - used_ < kHeaderBytes + size) return std::nullopt;
  Frame frame;
  frame.kind = static_cast<std::uint8_t>(buffer_[used_ + sizeof size]);
  frame.payload = buffer_.substr(used_ + kHeaderBytes, size);
  used_ += kHeaderBytes + size;
  if (used_ == buffer_.size()) {
    buffer_.clear();
    used_ = 0;
  }
  return frame;
}

bool write_fully(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        pollfd writable{socket, POLLOUT, 0};
        poll(&writable, 1, -1);
        continue;
      }
      return false;
    }
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

}  // namespace mobula
