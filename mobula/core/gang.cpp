#include "mobula/core/gang.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <thread>

#include "mobula/base/error.hpp"
#include "mobula/core/local/frames.hpp"
#include "mobula/core/local/gang_protocol.hpp"
#include "mobula/core/local/stderr_tail.hpp"
#include "mobula/core/local/worker_process.hpp"

namespace mobula {
namespace {

/// Messages wait in the members' sockets once this much is waiting for next_event().
constexpr std::size_t kMaxQueuedBytes = std::size_t{256} << 20;

/// One member as the driver sees it. Belongs to the input/output thread, save for `outgoing` and `alive`.
struct Member {
  WorkerProcess process;
  FrameReader reader;
  StderrTail standard_error;
  bool stderr_open = true;
  bool socket_open = true;
  std::optional<GangEvent> result;  ///< what its function came to, told once the process has ended
  std::string outgoing;             ///< bytes for its socket; under the mutex
  std::size_t num_sent = 0;         ///< of them, how many are sent
  bool alive = true;                ///< under the mutex
};

}  // namespace

struct Gang::State {
  std::string name;
  Descriptor shared_memory;
  std::span<std::byte> shared;
  Descriptor wake;
  std::vector<Member> members;
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::deque<GangEvent> events;
  std::size_t queued_bytes = 0;
  bool stopping = false;
  std::thread thread;

  ~State();
  void start(GangFunction function, const GangOptions& options);
  void run();
  void push(GangEvent event);
  void read_frames(Member& member, int rank);
  /// Reads what the living members had sent by now, so that a death is told after all that came before it.
  void read_what_was_sent();
  void write_outgoing(Member& member);
  void finish(Member& member, int rank);
  void signal_all(int number);
  void wake_thread() const;
  bool any_alive() const;
};

Gang::State::~State() {
  {
    std::lock_guard lock(mutex);
    stopping = true;
    signal_all(SIGKILL);
  }
  if (thread.joinable()) {
    wake_thread();
    thread.join();
  } else {
    for (Member& member : members) reap_worker_process(member.process);
  }
  if (!shared.empty()) munmap(shared.data(), shared.size());
}

void Gang::State::start(GangFunction function, const GangOptions& options) {
  if (options.size < 1 || options.size > 4096) {
    throw_invalid(fmt::format("{}: a gang of {} members was asked for", options.name, options.size),
                  "choose between 1 and 4096 members");
  }
  refuse_in_unserved_worker();
  name = options.name;
  shared_memory = Descriptor(memfd_create("mobula-gang", MFD_CLOEXEC));
  if (!shared_memory) throw_io("shared memory can't be made", errno);
  if (options.shared_bytes != 0) {
    if (ftruncate(shared_memory.get(), static_cast<off_t>(options.shared_bytes)) != 0) {
      throw_io(fmt::format("shared memory of {} bytes can't be made", options.shared_bytes), errno);
    }
    void* address = mmap(nullptr, options.shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, shared_memory.get(), 0);
    if (address == MAP_FAILED) {
      throw_io(fmt::format("shared memory of {} bytes can't be mapped", options.shared_bytes), errno);
    }
    shared = {static_cast<std::byte*>(address), options.shared_bytes};
  }
  wake = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) throw_io("eventfd", errno);

  GangStart first{.function = locate_code(reinterpret_cast<const void*>(function)),
                  .name = options.name,
                  .argument = options.argument,
                  .size = options.size,
                  .shared_memory = shared_memory.get(),
                  .shared_bytes = options.shared_bytes};
  members.reserve(static_cast<std::size_t>(options.size));
  for (int rank = 0; rank < options.size; ++rank) {
    Member member;
    member.process = start_worker_process({.role = std::string(kGangRole),
                                           .title = fmt::format("mobula-worker: {} {}", options.name, rank),
                                           .inherited = {shared_memory.get()},
                                           .environment = options.environment,
                                           .program = options.program,
                                           .directory = options.directory});
    if (options.relay_standard_error) {
      member.standard_error.set_sink([this, rank](std::string_view text) {
        push({.kind = GangEvent::Kind::standard_error, .rank = rank, .payload = std::string(text)});
      });
    }
    first.rank = rank;
    member.outgoing = encode_frame(static_cast<std::uint8_t>(GangFrame::start), encode(first));
    members.push_back(std::move(member));
  }
  thread = std::thread([this] { run(); });
}

bool Gang::State::any_alive() const {
  return std::any_of(members.begin(), members.end(), [](const Member& member) { return member.alive; });
}

void Gang::State::wake_thread() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake.get(), &one, sizeof one);
}

void Gang::State::signal_all(int number) {
  for (Member& member : members) {
    if (member.alive) syscall(SYS_pidfd_send_signal, member.process.exited.get(), number, nullptr, 0);
  }
}

void Gang::State::push(GangEvent event) {
  std::lock_guard lock(mutex);
  queued_bytes += event.payload.size();
  events.push_back(std::move(event));
  changed.notify_all();
}

void Gang::State::read_frames(Member& member, int rank) {
  member.socket_open = member.reader.fill(member.process.socket.get(), false);
  try {
    while (auto frame = member.reader.next()) {
      if (frame->kind == static_cast<std::uint8_t>(GangFrame::message)) {
        push({.kind = GangEvent::Kind::message, .rank = rank, .payload = std::move(frame->payload)});
      } else if (frame->kind == static_cast<std::uint8_t>(GangFrame::finished)) {
        member.result = GangEvent{.kind = GangEvent::Kind::finished, .rank = rank};
      } else if (frame->kind == static_cast<std::uint8_t>(GangFrame::failed)) {
        GangFailure failure = decode_gang_failure(frame->payload);
        member.result = GangEvent{.kind = GangEvent::Kind::failed,
                                  .rank = rank,
                                  .payload = std::move(failure.message),
                                  .error_code = failure.code,
                                  .hint = std::move(failure.hint),
                                  .error_type = std::move(failure.type)};
      }
    }
  } catch (const Error& error) {
    // The function scribbled over its own socket; there is no way back into step.
    member.socket_open = false;
    member.result = GangEvent{.kind = GangEvent::Kind::failed,
                              .rank = rank,
                              .payload = error.message(),
                              .error_code = static_cast<int>(error.code())};
    syscall(SYS_pidfd_send_signal, member.process.exited.get(), SIGKILL, nullptr, 0);
  }
}

void Gang::State::read_what_was_sent() {
  for (std::size_t rank = 0; rank < members.size(); ++rank) {
    Member& member = members[rank];
    if (!member.alive || !member.socket_open) continue;
    int waiting = 0;
    if (ioctl(member.process.socket.get(), FIONREAD, &waiting) != 0) continue;
    // No more than was there: a member that never stops sending must not hold the news back.
    const std::size_t end = member.reader.num_received() + static_cast<std::size_t>(waiting);
    while (member.socket_open && member.reader.num_received() < end) read_frames(member, static_cast<int>(rank));
  }
}

void Gang::State::write_outgoing(Member& member) {
  std::lock_guard lock(mutex);
  while (member.num_sent < member.outgoing.size()) {
    const ssize_t sent = ::send(member.process.socket.get(), member.outgoing.data() + member.num_sent,
                                member.outgoing.size() - member.num_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return;
    if (sent < 0) break;  // it is dying; its pidfd will say so
    member.num_sent += static_cast<std::size_t>(sent);
  }
  member.outgoing.clear();
  member.num_sent = 0;
}

void Gang::State::finish(Member& member, int rank) {
  const WorkerExit exit = reap_worker_process(member.process);
  // A grandchild may hold the other end open, so stop once nothing is there: the member's own bytes all are
  // by now.
  pollfd readable{member.process.socket.get(), POLLIN, 0};
  while (member.socket_open && poll(&readable, 1, 0) > 0) read_frames(member, rank);
  if (member.stderr_open) member.standard_error.forward(member.process.standard_error.get());
  GangEvent event =
      member.result
          ? std::move(*member.result)
          : GangEvent{.kind = GangEvent::Kind::died, .rank = rank, .exit_code = exit.exit_code, .signal = exit.signal};
  if (event.kind != GangEvent::Kind::finished) event.last_stderr = member.standard_error.last_lines();
  member.process.socket.reset();
  std::lock_guard lock(mutex);
  member.alive = false;
  events.push_back(std::move(event));
  changed.notify_all();
}

void Gang::State::run() {
  enum class Source { wake, exited, socket, standard_error };
  struct Watch {
    Source source;
    std::size_t rank;
  };
  std::vector<pollfd> polled;
  std::vector<Watch> watches;
  for (;;) {
    polled.assign(1, {wake.get(), POLLIN, 0});
    watches.assign(1, {Source::wake, 0});
    {
      std::lock_guard lock(mutex);
      if (!any_alive()) return;
      const bool full = queued_bytes >= kMaxQueuedBytes && !stopping;
      for (std::size_t rank = 0; rank < members.size(); ++rank) {
        const Member& member = members[rank];
        if (!member.alive) continue;
        polled.push_back({member.process.exited.get(), POLLIN, 0});
        watches.push_back({Source::exited, rank});
        if (member.socket_open) {
          const int wanted = (full ? 0 : POLLIN) | (member.outgoing.empty() ? 0 : POLLOUT);
          if (wanted != 0) {
            polled.push_back({member.process.socket.get(), static_cast<short>(wanted), 0});
            watches.push_back({Source::socket, rank});
          }
        }
        if (member.stderr_open) {
          polled.push_back({member.process.standard_error.get(), POLLIN, 0});
          watches.push_back({Source::standard_error, rank});
        }
      }
    }
    if (poll(polled.data(), polled.size(), -1) < 0) continue;
    // Output first, deaths last, so that nothing a member wrote before it ended is told after its end.
    for (std::size_t i = 0; i < polled.size(); ++i) {
      Member& member = members[watches[i].rank];
      const short happened = polled[i].revents;
      if (happened == 0) continue;
      if (watches[i].source == Source::wake) {
        std::uint64_t count = 0;
        [[maybe_unused]] const ssize_t got = read(wake.get(), &count, sizeof count);
      } else if (watches[i].source == Source::socket) {
        if ((happened & POLLOUT) != 0) write_outgoing(member);
        if ((happened & (POLLIN | POLLHUP | POLLERR)) != 0) read_frames(member, static_cast<int>(watches[i].rank));
      } else if (watches[i].source == Source::standard_error) {
        member.stderr_open = member.standard_error.forward(member.process.standard_error.get());
      }
    }
    for (std::size_t i = 0; i < polled.size(); ++i) {
      if (watches[i].source != Source::exited || polled[i].revents == 0) continue;
      read_what_was_sent();
      finish(members[watches[i].rank], static_cast<int>(watches[i].rank));
    }
  }
}

Gang::Gang(GangFunction function, GangOptions options) : state_(std::make_unique<State>()) {
  state_->start(function, options);
}

Gang::~Gang() = default;

std::vector<pid_t> Gang::pids() const {
  std::vector<pid_t> pids;
  for (const Member& member : state_->members) pids.push_back(member.process.pid);
  return pids;
}

std::optional<GangEvent> Gang::next_event(std::chrono::nanoseconds timeout) {
  std::unique_lock lock(state_->mutex);
  const auto ready = [&] { return !state_->events.empty() || !state_->any_alive(); };
  // Further away than the clock can count means for ever.
  if (timeout > std::chrono::hours(24 * 365)) {
    state_->changed.wait(lock, ready);
  } else {
    state_->changed.wait_for(lock, timeout, ready);
  }
  if (state_->events.empty()) return std::nullopt;
  GangEvent event = std::move(state_->events.front());
  state_->events.pop_front();
  if (event.kind == GangEvent::Kind::message || event.kind == GangEvent::Kind::standard_error) {
    const bool was_full = state_->queued_bytes >= kMaxQueuedBytes;
    state_->queued_bytes -= event.payload.size();
    if (was_full && state_->queued_bytes < kMaxQueuedBytes) state_->wake_thread();
  }
  return event;
}

bool Gang::running() const {
  std::lock_guard lock(state_->mutex);
  return state_->any_alive();
}

void Gang::send(int rank, std::string_view bytes) {
  std::lock_guard lock(state_->mutex);
  if (rank < 0 || static_cast<std::size_t>(rank) >= state_->members.size()) {
    throw_invalid(fmt::format("{}: there is no rank {}", state_->name, rank),
                  fmt::format("ranks go from 0 to {}", state_->members.size() - 1));
  }
  Member& member = state_->members[static_cast<std::size_t>(rank)];
  if (!member.alive) return;
  member.outgoing += encode_frame(static_cast<std::uint8_t>(GangFrame::message), bytes);
  state_->wake_thread();
}

void Gang::kill(int signal) {
  std::unique_lock lock(state_->mutex);
  state_->signal_all(signal);
  if (signal != SIGKILL) return;
  state_->changed.wait(lock, [&] { return !state_->any_alive(); });
}

std::span<std::byte> Gang::shared() noexcept {
  return state_->shared;
}

}  // namespace mobula
