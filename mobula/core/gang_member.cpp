#include <cxxabi.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <thread>
#include <typeinfo>

#include "mobula/base/error.hpp"
#include "mobula/base/log.hpp"
#include "mobula/core/gang.hpp"
#include "mobula/core/local/frames.hpp"
#include "mobula/core/local/gang_protocol.hpp"

namespace mobula {

struct GangMember::State {
  GangStart start;
  int socket = -1;
  std::span<std::byte> shared;
  std::mutex sending;
  std::mutex receiving;
  FrameReader reader;
};

namespace {

/// Ends the process without running destructors of static objects: other threads may still use them.
[[noreturn]] void leave(int code) {
  std::cout.flush();
  std::fflush(nullptr);
  _exit(code);
}

void send_frame(GangMember::State& state, GangFrame kind, std::string_view payload) {
  const std::string bytes = encode_frame(static_cast<std::uint8_t>(kind), payload);
  std::lock_guard lock(state.sending);
  if (!write_fully(state.socket, bytes)) leave(1);  // the driver is gone: nobody is left to work for
}

std::string type_name(const std::type_info& type) {
  int status = 0;
  char* readable = abi::__cxa_demangle(type.name(), nullptr, nullptr, &status);
  std::string name = status == 0 ? readable : type.name();
  std::free(readable);
  return name;
}

void run(GangMember::State& state) {
  const auto function = reinterpret_cast<GangFunction>(resolve_code(state.start.function));
  if (state.start.shared_bytes != 0) {
    void* address =
        mmap(nullptr, state.start.shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, state.start.shared_memory, 0);
    if (address == MAP_FAILED) throw_io("shared memory can't be mapped", errno);
    state.shared = {static_cast<std::byte*>(address), state.start.shared_bytes};
  }
  close(state.start.shared_memory);
  GangMember member(state);
  function(member);
}

}  // namespace

int GangMember::rank() const noexcept {
  return state_->start.rank;
}
int GangMember::size() const noexcept {
  return state_->start.size;
}
const std::string& GangMember::argument() const noexcept {
  return state_->start.argument;
}
std::span<std::byte> GangMember::shared() noexcept {
  return state_->shared;
}

void GangMember::send(std::string_view bytes) {
  send_frame(*state_, GangFrame::message, bytes);
}

std::optional<std::string> GangMember::receive(std::chrono::nanoseconds timeout) {
  std::lock_guard lock(state_->receiving);
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    if (auto frame = state_->reader.next()) return std::move(frame->payload);
    const auto left = timeout - (std::chrono::steady_clock::now() - start);
    const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    pollfd readable{state_->socket, POLLIN, 0};
    const int wait = milliseconds <= 0 ? 0 : static_cast<int>(std::min<std::int64_t>(milliseconds, 1 << 30));
    if (poll(&readable, 1, wait) == 0 && milliseconds <= 0) return std::nullopt;
    if ((readable.revents != 0) && !state_->reader.fill(state_->socket, false)) leave(1);
  }
}

void serve_gang_member(int socket) {
  static GangMember::State state;
  state.socket = socket;
  GangFailure failure;
  try {
    std::optional<Frame> first;
    while (!(first = state.reader.next())) {
      if (!state.reader.fill(socket, true)) leave(1);
    }
    state.start = decode_gang_start(first->payload);
    set_log_prefix(fmt::format("{} {}", state.start.name, state.start.rank));
    run(state);
    send_frame(state, GangFrame::finished, {});
    leave(0);
  } catch (const Error& error) {
    failure = {static_cast<int>(error.code()), type_name(typeid(error)), error.message(), error.hint()};
  } catch (const std::exception& error) {
    failure = {static_cast<int>(ErrorCode::task_failed), type_name(typeid(error)), error.what(), {}};
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    failure = {static_cast<int>(ErrorCode::task_failed), type != nullptr ? type_name(*type) : "unknown",
               "an exception that is no std::exception", "throw mobula::Error or another std::exception"};
  }
  send_frame(state, GangFrame::failed, encode(failure));
  leave(1);
}

}  // namespace mobula
