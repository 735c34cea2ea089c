#include "mobula/core/object.hpp"

#include <mutex>

#include "mobula/base/error.hpp"
#include "mobula/core/engine.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/local/futex.hpp"
#include "mobula/core/wire.hpp"

namespace mobula {

struct Object::Stored {
  std::mutex mutex;
  std::shared_ptr<const StoredBytes> bytes;
  std::atomic<bool> decoded = false;
};

Object::~Object() {
  if (numbered()) {
    if (const auto forget = handle_forgetter.load(std::memory_order_acquire)) forget(this);
  }
  delete stored_.load(std::memory_order_relaxed);
}

std::shared_ptr<const StoredBytes> Object::stored() const {
  const Stored* stored = stored_.load(std::memory_order_acquire);
  return stored == nullptr ? nullptr : stored->bytes;
}

std::shared_ptr<const StoredBytes> Object::undecoded() const {
  const Stored* stored = stored_.load(std::memory_order_acquire);
  return stored == nullptr || stored->decoded.load(std::memory_order_acquire) ? nullptr : stored->bytes;
}

void Object::decode_stored() {
  Stored& stored = *stored_.load(std::memory_order_acquire);
  if (stored.decoded.load(std::memory_order_acquire)) return;
  std::lock_guard lock(stored.mutex);
  if (stored.decoded) return;
  const PinnedBytes pinned = stored.bytes->pin();
  WireReader in(pinned.bytes());
  in.set_handles(pinned.handles());
  in.set_keeper(pinned.keeper(), false);
  decode_value(in);
  set_holds_value();
  stored.decoded.store(true, std::memory_order_release);
}

void Object::publish() noexcept {
  std::uintptr_t seen = state_.load(std::memory_order_relaxed);
  for (;;) {
    if ((seen & kLocked) != 0) {
      spin_pause();
      seen = state_.load(std::memory_order_relaxed);
      continue;
    }
    if (state_.compare_exchange_weak(seen, kReady, std::memory_order_acq_rel, std::memory_order_relaxed)) break;
  }
  for (auto* waiter = reinterpret_cast<Waiter*>(seen); waiter != nullptr;) {
    Waiter* next = waiter->next;  // a waiter may be gone once it is told
    waiter->notify(waiter);
    waiter = next;
  }
}

void Object::complete() noexcept {
  if (stored_.load(std::memory_order_relaxed) == nullptr) set_holds_value();
  publish();
}

void Object::complete_unshared() noexcept {
  if (stored_.load(std::memory_order_relaxed) == nullptr) set_holds_value();
}

void Object::complete_with(std::exception_ptr error) noexcept {
  error_ = std::move(error);
  publish();
}

void Object::take_bytes(std::string_view bytes) {
  WireReader in(bytes);
  decode_value(in);
}

void Object::take_stored(std::shared_ptr<const StoredBytes> stored) {
  stored_.store(new Stored{.bytes = std::move(stored)}, std::memory_order_release);
}

void Object::attach_stored(std::shared_ptr<const StoredBytes> stored) {
  auto* made = new Stored{.bytes = std::move(stored), .decoded = true};
  Stored* none = nullptr;
  // Two threads may have encoded it at once: the first one's bytes stay.
  if (!stored_.compare_exchange_strong(none, made, std::memory_order_acq_rel)) delete made;
}

bool Object::add_waiter(Waiter& waiter) noexcept {
  std::uintptr_t seen = state_.load(std::memory_order_acquire);
  for (;;) {
    if (seen == kReady) return false;
    if ((seen & kLocked) != 0) {
      spin_pause();
      seen = state_.load(std::memory_order_acquire);
      continue;
    }
    waiter.next = reinterpret_cast<Waiter*>(seen);
    if (state_.compare_exchange_weak(seen, reinterpret_cast<std::uintptr_t>(&waiter), std::memory_order_acq_rel,
                                     std::memory_order_acquire)) {
      if (polled()) [[unlikely]]
        engine_->watch(this);
      return true;
    }
  }
}

bool Object::remove_waiter(Waiter& waiter) noexcept {
  std::uintptr_t seen = state_.load(std::memory_order_acquire);
  for (;;) {
    if (seen == kReady) return false;
    if ((seen & kLocked) != 0) {
      spin_pause();
      seen = state_.load(std::memory_order_acquire);
      continue;
    }
    if (state_.compare_exchange_weak(seen, seen | kLocked, std::memory_order_acq_rel, std::memory_order_acquire)) break;
  }
  auto* first = reinterpret_cast<Waiter*>(seen);
  bool found = first == &waiter;
  if (found) first = waiter.next;
  for (Waiter* at = first; !found && at != nullptr; at = at->next) {
    if (at->next == &waiter) {
      at->next = waiter.next;
      found = true;
    }
  }
  state_.store(reinterpret_cast<std::uintptr_t>(first), std::memory_order_release);
  return found;
}

}  // namespace mobula
