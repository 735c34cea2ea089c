/// Messages over a stream socket: a length of 4 bytes, a kind of 1 byte, the payload.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mobula {

/// One message.
struct Frame {
  std::uint8_t kind = 0;
  std::string payload;
};

/// Longest payload; a longer one is refused where it is sent, and taken for damage where it arrives.
inline constexpr std::size_t kMaxFrameBytes = std::size_t{1} << 30;

/// Returns a frame's bytes. Throws Error(resource) where the payload is longer than kMaxFrameBytes.
std::string encode_frame(std::uint8_t kind, std::string_view payload);

/// Cuts a stream of bytes back into frames. Not thread-safe.
class FrameReader {
 public:
  /// Reads what the socket has now, at most about 1 MiB; with `wait` blocks for the first byte. Returns false
  /// at the stream's end (also when the peer died).
  bool fill(int socket, bool wait);
  /// Returns the next whole frame, or nothing. Throws Error(corrupt) for a length over kMaxFrameBytes.
  std::optional<Frame> next();
  /// Returns how many bytes fill() has read in all.
  std::size_t num_received() const noexcept { return num_received_; }

 private:
  std::string buffer_;
  std::size_t used_ = 0;
  std::size_t num_received_ = 0;
};

/// Writes all bytes, blocking. Returns false where the peer is gone.
bool write_fully(int socket, std::string_view bytes);

}  // namespace mobula
