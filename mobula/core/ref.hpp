/// A handle on a value that is there or will be: the result of a task or of an actor's call, or what was put.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "mobula/core/codec.hpp"
#include "mobula/core/object.hpp"

namespace mobula {

/// Makes a value of stored bytes. `read_only`: for looking only, see WireReader::read_only().
template <class T>
T from_pinned(const PinnedBytes& pinned, bool read_only = false) {
  WireReader in(pinned.bytes());
  in.set_handles(pinned.handles());
  in.set_keeper(pinned.keeper(), read_only);
  return codec::decode<T>(in);
}

/// Asks the engine whether a polled object is ready by now.
bool look(Object& object);

/// Counted handle on an object. Copies are cheap; an argument of this type makes a task wait for the value.
/// Thread-safe as a shared_ptr is: one handle belongs to one thread at a time.
template <class T>
class Ref {
 public:
  using value_type = T;

  Ref() = default;
  /// Takes over one reference.
  explicit Ref(Object* object) noexcept : object_(object) {}
  Ref(const Ref& other) noexcept : object_(other.object_) {
    if (object_ != nullptr) object_->retain();
  }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr) object_->release();
  }

  /// Tells whether the handle points at anything; a default-made or moved-from one does not.
  explicit operator bool() const noexcept { return object_ != nullptr; }
  /// Tells whether the value, or an error in its place, is there.
  bool ready() const { return object_ != nullptr && (object_->ready() || (object_->polled() && look(*object_))); }
  Object* object() const noexcept { return object_; }
  friend bool operator==(const Ref& a, const Ref& b) noexcept { return a.object_ == b.object_; }

 private:
  Object* object_ = nullptr;
};

/// Throws Error(invalid_argument) where a Ref points at nothing, or at an object of another Runtime.
[[noreturn]] void throw_absent(const Object* object);
inline void require_present(const Object* object) {
  if (object == nullptr || object->generation() != runtime_generation.load(std::memory_order_relaxed)) [[unlikely]]
    throw_absent(object);
}

/// A read-only look at an object's value, without a copy; keeps the value alive. Strings, and vectors of plain numbers or
/// of aggregates of those without padding, are seen where they lie, also in memory shared with other processes:
/// `for (float x : *view)`, `view->size()`. So are values whose Codec points into the bytes (Codec::kBorrows): tensors,
/// Arrow batches. What is looked at stays in memory: it is not spilled.
/// Usable as the parameter of a remote function: `double sum(View<std::vector<double>> values)`.
template <class T>
class View {
 public:
  using value_type = T;
  static constexpr bool kSpan = codec::is_flat_vector<T>;
  static constexpr bool kText = std::is_same_v<T, std::string>;

  /// Looks at a ready object.
  explicit View(Ref<T> ref) : ref_(std::move(ref)) {
    Object* object = ref_.object();
    if constexpr (kSpan || kText) {
      if (const auto stored = object->stored()) {
        look_at(stored->pin());
        return;
      }
    } else if constexpr (codec::Borrows<T>) {
      if (const auto stored = object->undecoded()) {
        borrow(stored->pin());
        return;
      }
    }
    const auto& value = *static_cast<const T*>(object->value());
    if constexpr (kSpan || kText) {
      window_ = value;
    } else {
      window_ = &value;
    }
  }
  /// Looks at encoded bytes.
  explicit View(const std::shared_ptr<const StoredBytes>& stored) {
    if constexpr (kSpan || kText) {
      look_at(stored->pin());
    } else {
      borrow(stored->pin());
    }
  }

  decltype(auto) operator*() const noexcept {
    if constexpr (kSpan || kText) {
      return (window_);
    } else {
      return static_cast<const T&>(*window_);
    }
  }
  auto operator->() const noexcept {
    if constexpr (kSpan || kText) {
      return &window_;
    } else {
      return window_;
    }
  }

 private:
  struct NoElement {
    using value_type = char;
  };
  using Element = typename std::conditional_t<kSpan, T, NoElement>::value_type;

  void borrow(const PinnedBytes& pinned) {
    decoded_ = std::make_shared<const T>(from_pinned<T>(pinned, true));
    window_ = decoded_.get();
  }

  void look_at(PinnedBytes pinned) {
    WireReader in(pinned.bytes());
    if constexpr (kText) {
      window_ = in.text();
    } else {
      const std::size_t size = codec::decode_size(in, sizeof(Element));
      const char* at = in.take(size * sizeof(Element));
      if (reinterpret_cast<std::uintptr_t>(at) % alignof(Element) != 0) {
        // Small values travel inside messages, wherever those lie.
        decoded_ = std::make_shared<const T>(from_bytes<T>(pinned.bytes()));
        window_ = *decoded_;
        return;
      }
      window_ = {reinterpret_cast<const Element*>(at), size};
    }
    pinned_ = std::move(pinned);
  }

  Ref<T> ref_;
  PinnedBytes pinned_;
  std::shared_ptr<const T> decoded_;
  std::conditional_t<kSpan, std::span<const Element>, std::conditional_t<kText, std::string_view, const T*>> window_{};
};

}  // namespace mobula
