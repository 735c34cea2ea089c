/// A gang: processes of this same program that start together, know their rank, and share one block of
/// memory.
///
///     void work(mobula::GangMember& member) { member.send(fmt::format("rank {} of {}", member.rank(),
///     member.size())); } mobula::Gang gang(work, {.size = 4}); while (auto event = gang.next_event(1s)) {
///     ... }
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mobula {

class GangMember;
/// What every member runs: a plain function or captureless lambda of the program or of a library it loaded.
using GangFunction = void (*)(GangMember&);

struct GangOptions {
  std::string name = "gang";     ///< stands before the members' log lines and in errors
  int size = 1;                  ///< number of processes
  std::size_t shared_bytes = 0;  ///< size of the zeroed memory block that all members and the driver share
  std::string argument;          ///< bytes that every member gets
  std::vector<std::pair<std::string, std::string>> environment;  ///< set in the members only
  std::string program;                ///< path of what the members run; empty: this same program
  std::string directory;              ///< their working directory; empty: this process's
  bool relay_standard_error = false;  ///< what they write there comes as events, instead of being passed on
};

/// What happened in a gang.
struct GangEvent {
  enum class Kind { message, finished, failed, died, standard_error };
  Kind kind = Kind::message;
  int rank = 0;
  std::string
      payload;         ///< message, standard_error: its bytes; failed: the text of the exception that left the function
  int error_code = 0;  ///< failed: the ErrorCode of a mobula::Error
  std::string hint;    ///< failed: the hint of a mobula::Error
  std::string error_type;   ///< failed: the type of the exception, such as "std::out_of_range"
  int exit_code = 0;        ///< died: where it exited
  int signal = 0;           ///< died: where a signal ended it
  std::string last_stderr;  ///< failed, died: the last lines (at most 4 KiB) of its standard error
};

/// The driver's side. A member's death is seen at once (pidfd), not polled. Members die with the driver,
/// however it ends.
class Gang {
 public:
  /// Starts the processes. Throws Error(resource) where the system refuses.
  Gang(GangFunction function, GangOptions options);
  Gang(const Gang&) = delete;
  Gang& operator=(const Gang&) = delete;
  /// Kills and reaps what is still running.
  ~Gang();

  std::vector<pid_t> pids() const;
  /// Waits for the next event; nothing when `timeout` passed, or when all members ended and all events were
  /// given out.
  std::optional<GangEvent> next_event(std::chrono::nanoseconds timeout);
  /// Tells whether any member is still running.
  bool running() const;
  /// Sends bytes to one member. Dropped where it is dead.
  void send(int rank, std::string_view bytes);
  /// Sends `signal` (default SIGKILL) to every living member; with SIGKILL, reaps them before it returns.
  void kill(int signal = 9);
  std::span<std::byte> shared() noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A member's side.
class GangMember {
 public:
  int rank() const noexcept;
  int size() const noexcept;
  const std::string& argument() const noexcept;
  std::span<std::byte> shared() noexcept;
  /// Sends bytes to the driver. Thread-safe, never lost while the driver lives.
  void send(std::string_view bytes);
  /// Returns the next bytes the driver sent, or nothing after `timeout`.
  std::optional<std::string> receive(std::chrono::nanoseconds timeout);

  struct State;
  explicit GangMember(State& state) : state_(&state) {}

 private:
  State* state_;
};

/// Runs this process as a worker and exits, where it was started as one; else returns at once. Call it first
/// in main(); Runtime's constructor calls it too.
void serve_if_worker();

}  // namespace mobula
