/// Values handed from one thread to another, a few at a time.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

namespace mobula::data {

/// A queue that holds at most `capacity` values. Thread-safe.
template <class T>
class Channel {
 public:
  explicit Channel(std::size_t capacity) : capacity_(capacity) {}

  /// Waits for room and hands a value on; false once the reader has closed.
  bool push(T value) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || values_.size() < capacity_; });
    if (closed_) return false;
    values_.push_back(std::move(value));
    changed_.notify_all();
    return true;
  }
  /// Ends the values; with an error, the reader gets it behind the last of them.
  void finish(std::exception_ptr error = nullptr) {
    const std::lock_guard lock(mutex_);
    finished_ = true;
    error_ = std::move(error);
    changed_.notify_all();
  }
  /// Waits for a value; nothing at the end. Throws what finish() was given, each time.
  std::optional<T> pop() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return finished_ || !values_.empty(); });
    if (!values_.empty()) {
      std::optional<T> value(std::move(values_.front()));
      values_.pop_front();
      changed_.notify_all();
      return value;
    }
    if (error_ != nullptr) std::rethrow_exception(error_);
    return std::nullopt;
  }
  /// Lets the writer go: what it pushes from now on is refused.
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  const std::size_t capacity_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<T> values_;
  bool finished_ = false;
  bool closed_ = false;
  std::exception_ptr error_;
};

}  // namespace mobula::data
