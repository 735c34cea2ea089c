#include "mobula/serve/http/exchange.hpp"

#include <fmt/format.h>

#include <iterator>
#include <utility>

namespace mobula::serve::http {

void AnswerQueue::start(Response head, bool streamed) {
  // Once the answer has ended nobody needs the action, which may hold this very exchange.
  std::function<void()> action;
  {
    const std::lock_guard lock(mutex_);
    if (started_ || disconnected_) return;
    started_ = true;
    if (!streamed) action = std::exchange(action_, nullptr);
    part_.streamed = streamed;
    ended_ = part_.finished = !streamed;
    part_.head = std::move(head);
  }
  notify();
}

void AnswerQueue::append(std::string_view bytes) {
  bool too_slow = false;
  {
    const std::lock_guard lock(mutex_);
    if (!started_ || ended_ || disconnected_ || bytes.empty()) return;
    if (chunked_) fmt::format_to(std::back_inserter(part_.bytes), "{:x}\r\n", bytes.size());
    part_.bytes += bytes;
    if (chunked_) part_.bytes += "\r\n";
    too_slow = part_.bytes.size() > max_queued_;
  }
  if (too_slow) {
    disconnect();
    abort();
  } else {
    notify();
  }
}

void AnswerQueue::finish() {
  std::function<void()> action;
  {
    const std::lock_guard lock(mutex_);
    if (!started_ || ended_) return;
    ended_ = true;
    action = std::exchange(action_, nullptr);
    if (chunked_) part_.bytes += "0\r\n\r\n";
    part_.finished = true;
  }
  notify();
}

void AnswerQueue::abort() {
  std::function<void()> action;
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    ended_ = true;
    action = std::exchange(action_, nullptr);
    part_.aborted = true;
  }
  notify();
}

void AnswerQueue::on_disconnect(std::function<void()> action) {
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    if (!disconnected_) {
      action_ = std::move(action);
      return;
    }
  }
  action();
}

bool AnswerQueue::is_open() const {
  const std::lock_guard lock(mutex_);
  return !disconnected_ && !ended_;
}

bool AnswerQueue::started() const {
  const std::lock_guard lock(mutex_);
  return started_;
}

bool AnswerQueue::has_ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

AnswerQueue::Part AnswerQueue::take() {
  const std::lock_guard lock(mutex_);
  notified_ = false;
  Part part = std::exchange(part_, Part{});
  // The end is reported with every later take too.
  part_.finished = part.finished;
  part_.aborted = part.aborted;
  return part;
}

void AnswerQueue::disconnect() {
  std::function<void()> action;
  {
    const std::lock_guard lock(mutex_);
    if (disconnected_ || part_.finished) return;
    disconnected_ = true;
    action = std::exchange(action_, nullptr);
  }
  if (action) action();
}

void AnswerQueue::notify() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(notified_, true)) return;
  }
  wake_();
}

Exchange::~Exchange() {
  if (queue_->started()) {
    queue_->abort();
  } else {
    queue_->start({.status = 500, .content_type = "text/plain", .body = "the request was not answered\n"}, false);
  }
}

void Exchange::respond(Response response) {
  queue_->start(std::move(response), false);
}

void Exchange::start_stream(Response head) {
  const std::string first = std::exchange(head.body, {});
  queue_->start(std::move(head), true);
  queue_->append(first);
}

void Exchange::write(std::string_view bytes) {
  queue_->append(bytes);
}

void Exchange::finish() {
  queue_->finish();
}

}  // namespace mobula::serve::http
