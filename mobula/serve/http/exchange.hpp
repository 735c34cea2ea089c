/// One request and its answer, between the connection it came over and the handler that answers it.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "mobula/serve/http/message.hpp"

namespace mobula::serve::http {

/// What handler and connection share. Thread-safe.
class AnswerQueue {
 public:
  /// `wake` tells the connection that there is something to take; called on any thread.
  /// Beyond `max_queued` bytes that a slow client has not taken, the answer is given up.
  AnswerQueue(bool chunked, std::size_t max_queued, std::function<void()> wake)
      : chunked_(chunked), max_queued_(max_queued), wake_(std::move(wake)) {}

  /// What the connection has to send next.
  struct Part {
    std::optional<Response> head;
    bool streamed = false;  ///< with `head`: the body follows in parts
    std::string bytes;      ///< encoded as the connection must send them
    bool finished = false;  ///< nothing follows
    bool aborted = false;   ///< the answer ended too early: close the connection
    bool empty() const { return !head && bytes.empty() && !finished && !aborted; }
  };

  // The handler's side.
  void start(Response head, bool streamed);
  void append(std::string_view bytes);
  void finish();
  void abort();
  void on_disconnect(std::function<void()> action);
  bool is_open() const;
  bool started() const;

  // The connection's side.
  /// Returns what was added since the last take; from the first take on, additions wake the connection.
  Part take();
  /// Tells whether the next take is the last.
  bool has_ended() const;
  /// The client went away, or the server gives the request up: runs the handler's action, once.
  void disconnect();

 private:
  void notify();

  const bool chunked_;
  const std::size_t max_queued_;
  const std::function<void()> wake_;
  mutable std::mutex mutex_;
  Part part_;
  bool started_ = false;
  bool ended_ = false;
  bool disconnected_ = false;
  bool notified_ = true;  // until the first take: the connection looks when the handler has returned
  std::function<void()> action_;
};

/// The handler's side of one request. Thread-safe; may be kept and answered later, from any thread. Where the last
/// reference goes without an answer, the client gets 500, or sees its stream break off.
class Exchange {
 public:
  /// `post` runs a function on the connection's thread, or drops it once the connection is gone.
  Exchange(Request request, std::shared_ptr<AnswerQueue> queue, std::function<void(std::function<void()>)> post)
      : request_(std::move(request)), queue_(std::move(queue)), post_(std::move(post)) {}
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange();

  const Request& request() const noexcept { return request_; }
  /// Answers as a whole.
  void respond(Response response);
  /// Starts a streamed answer; `head.body` is its first part.
  void start_stream(Response head);
  /// Queues bytes of a streamed answer and returns at once. Bytes queued between two sends travel together.
  void write(std::string_view bytes);
  /// Ends a streamed answer.
  void finish();
  /// Breaks a streamed answer off, so that the client sees it is not whole.
  void abort() { queue_->abort(); }
  /// Runs `work` on the connection's thread, after what was posted before; drops it where the client has gone. For engines
  /// that leave the making of text to the HTTP threads.
  void post(std::function<void()> work) { post_(std::move(work)); }
  /// Returns false once nobody listens any more.
  bool is_open() const { return queue_->is_open(); }
  /// Sets what to do when the client goes away before the answer's end: called once, on any thread, at once where that has
  /// happened already.
  void on_disconnect(std::function<void()> action) { queue_->on_disconnect(std::move(action)); }

 private:
  const Request request_;
  const std::shared_ptr<AnswerQueue> queue_;
  const std::function<void(std::function<void()>)> post_;
};

}  // namespace mobula::serve::http
