/// Virtual time: what is to happen, in the order of its times; among equals in the order it was added.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

namespace mobula::sim {

/// Microseconds of virtual time.
using Time = std::int64_t;

class EventQueue {
 public:
  Time now() const noexcept { return now_; }
  /// Adds what happens `delay` from now.
  void after(Time delay, std::function<void()> event) {
    events_.push({now_ + delay, next_number_++, std::move(event)});
  }
  /// Lets the next thing happen. Returns false where nothing is left.
  bool step() {
    if (events_.empty()) return false;
    Event event = std::move(const_cast<Event&>(events_.top()));
    events_.pop();
    now_ = event.when;
    event.what();
    return true;
  }

 private:
  struct Event {
    Time when;
    std::uint64_t number;
    std::function<void()> what;
    bool operator<(const Event& other) const noexcept {
      return when != other.when ? when > other.when : number > other.number;
    }
  };
  std::priority_queue<Event> events_;
  Time now_ = 0;
  std::uint64_t next_number_ = 0;
};

}  // namespace mobula::sim
