/// The main process's end of a worker's socket: what the worker holds, what it asks for, what it waits for.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "mobula/core/engine.hpp"
#include "mobula/core/local/frames.hpp"
#include "mobula/core/local/handle_table.hpp"
#include "mobula/core/local/object_store.hpp"
#include "mobula/core/local/worker_protocol.hpp"

namespace mobula {

/// Frames are taken by one thread; the rest by any.
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
  };
  /// `socket` is borrowed until close().
  WorkerSession(Host host, int socket) : host_(std::move(host)), socket_(socket) {}
  WorkerSession(const WorkerSession&) = delete;
  WorkerSession& operator=(const WorkerSession&) = delete;

  /// Reads what has come. Returns false at the stream's end.
  bool read();
  /// Acts on what was read, after the results that the worker had shown before were taken.
  void act();
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
  mutable std::mutex send_mutex_;
  std::string waiting_output_;
  std::mutex holds_mutex_;
  std::unordered_map<std::uint64_t, Hold> holds_;
  std::unordered_map<std::uint64_t, std::uint64_t> reserved_;  ///< blocks it was given and has not put yet: their sizes
  bool closed_ = false;
  bool blocked_ = false;
};

}  // namespace mobula
