/// The main process's end of a worker's socket: what the worker holds, what it asks for, what it waits for.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "mobula/core/engine.hpp"
#include "mobula/core/local/frames.hpp"
#include "mobula/core/local/handle_table.hpp"
#include "mobula/core/local/object_store.hpp"
#include "mobula/core/local/worker_protocol.hpp"
#include "mobula/core/noted_wait.hpp"

namespace mobula {

/// A worker says some things in the slots of its calls and others over its socket; a result tells after how many frames it
/// was shown, so that everything is acted on in the order in which the worker did it.
///
/// Frames are acted on by one thread; the rest is done by any.
class WorkerSession : public std::enable_shared_from_this<WorkerSession> {
 public:
  /// What a session asks of its pool.
  struct Host {
    Engine* engine = nullptr;
    std::shared_ptr<ObjectStore> store;
    std::shared_ptr<HandleTable> handles;
    /// Finds a named actor; returns it with one reference. Throws Error(not_found).
    std::function<ActorCore*(const std::string& name, const std::string& type)> find_actor;
    std::function<void(bool blocked)> blocked;  ///< the worker's task waits, or goes on
    std::function<void()> output_waits;         ///< the socket is full: call flush() when it can be written to
    /// Returns the tasks that the worker is in, each with a reference; none where several run at once.
    std::function<std::vector<Task*>()> running;
  };
  /// `socket` is borrowed until close().
  WorkerSession(Host host, int socket) : host_(std::move(host)), socket_(socket) {}
  WorkerSession(const WorkerSession&) = delete;
  WorkerSession& operator=(const WorkerSession&) = delete;

  /// Reads what has come; one thread at a time.
  void read();
  /// Counts the frames that were read.
  std::uint64_t num_read() const noexcept { return num_read_.load(std::memory_order_acquire); }
  /// Counts the frames that were acted on.
  std::uint64_t num_acted() const noexcept { return num_acted_.load(std::memory_order_acquire); }
  /// Acts on frames that were read, up to so many since the session's start; after the results that the worker had shown
  /// before those were taken.
  void act(std::uint64_t num_frames);
  /// Sends what could not be sent at once.
  void flush();
  bool output_waiting() const;
  /// Notes that the worker holds a handle now; `pinned`: also the bytes that it sees.
  void borrow(std::uint64_t id, bool pinned);
  /// Hands a holder of a number over to who keeps the result it is in; false where the worker has none.
  bool hand_over(std::uint64_t id);
  /// The socket is about to be closed.
  void detach();
  /// The worker is gone: gives back everything it held. Returns whether its task was waiting.
  bool close();

 private:
  /// What the worker holds under one number.
  struct Hold {
    std::uint32_t count = 0;
    PinnedBytes pin;
    std::shared_ptr<const void> inner;  ///< handles in bytes that were sent to it
  };
  struct Want;

  void act(const Frame& frame);
  void put(WireReader& in);
  void submit(WireReader& in, bool on_actor);
  void create_actor(WireReader& in);
  void want(std::uint64_t id);
  void note_wait(std::uint64_t id);
  void send_value(std::uint64_t id, Object& object);
  void pin(WireReader& in);
  void make_room(WireReader& in);
  void find_actor(WireReader& in);
  void fail(std::uint64_t id, std::exception_ptr error);
  void release(std::uint64_t id);
  void send(ToWorker kind, const WireWriter& payload);

  Host host_;
  int socket_;  ///< -1 after close(); under send_mutex_
  FrameReader reader_;
  std::mutex frames_mutex_;
  std::deque<Frame> frames_;  ///< read and not acted on
  std::atomic<std::uint64_t> num_read_{0};
  std::atomic<std::uint64_t> num_acted_{0};
  mutable std::mutex send_mutex_;
  std::string waiting_output_;
  std::mutex holds_mutex_;
  std::unordered_map<std::uint64_t, Hold> holds_;
  std::unordered_map<std::uint64_t, std::uint64_t> reserved_;  ///< blocks it was given and has not put yet: their sizes
  std::unordered_map<std::uint64_t, std::unique_ptr<NotedWait>> noted_;  ///< by what its call waits for
  bool closed_ = false;
  bool blocked_ = false;
};

}  // namespace mobula
