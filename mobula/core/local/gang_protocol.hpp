/// What a gang's driver and its members say to each other.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "mobula/core/local/code_address.hpp"

namespace mobula {

/// The role that marks a process as a gang's member.
inline constexpr std::string_view kGangRole = "gang";

/// Kinds of frames on a member's socket.
enum class GangFrame : std::uint8_t {
  start,     ///< to the member, first of all: a GangStart
  message,   ///< both ways: user bytes
  finished,  ///< to the driver: the function returned
  failed,    ///< to the driver: the function threw; a GangFailure
};

/// What a member is told at its start.
struct GangStart {
  CodeAddress function;
  std::string name;
  std::string argument;
  int rank = 0;
  int size = 0;
  int shared_memory = -1;  ///< descriptor of the shared block
  std::uint64_t shared_bytes = 0;
};
std::string encode(const GangStart& start);
GangStart decode_gang_start(std::string_view bytes);

/// How a member's function failed.
struct GangFailure {
  int code = 0;  ///< an ErrorCode; task_failed for exceptions that are no mobula::Error
  std::string type;
  std::string message;
  std::string hint;
};
std::string encode(const GangFailure& failure);
GangFailure decode_gang_failure(std::string_view bytes);

/// Runs a member to its end. Never returns.
[[noreturn]] void serve_gang_member(int socket);

}  // namespace mobula
