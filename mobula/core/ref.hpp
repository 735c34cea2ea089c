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
  bool ready() const noexcept { return object_ != nullptr && object_->ready(); }
  Object* object() const noexcept { return object_; }
  friend bool operator==(const Ref& a, const Ref& b) noexcept { return a.object_ == b.object_; }

 private:
  Object* object_ = nullptr;
};

namespace view {

/// What a View shows: contiguous data as a span over wherever it lies, everything else as a const reference.
template <class T>
inline constexpr bool is_contiguous = false;
template <class E>
requires codec::Bits<E> &&(!std::is_same_v<E, bool>)inline constexpr bool is_contiguous<std::vector<E>> = true;

}  // namespace view

/// A read-only look at an object's value, without a copy; keeps the value alive. Vectors of plain numbers and strings are
/// seen where they lie, also in memory shared with other processes: `for (float x : *view)`, `view->size()`.
/// Usable as the parameter of a remote function: `double sum(View<std::vector<double>> values)`.
template <class T>
class View {
 public:
  using value_type = T;
  static constexpr bool kSpan = view::is_contiguous<T>;
  static constexpr bool kText = std::is_same_v<T, std::string>;

  /// Looks at a ready object.
  explicit View(Ref<T> ref) : ref_(std::move(ref)) {
    Object* object = ref_.object();
    if constexpr (kSpan || kText) {
      if (auto stored = object->stored()) {
        look_at(std::move(stored));
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
  explicit View(std::shared_ptr<const StoredBytes> stored) {
    if constexpr (kSpan || kText) {
      look_at(std::move(stored));
    } else {
      decoded_ = std::make_shared<const T>(from_bytes<T>(stored->bytes()));
      window_ = decoded_.get();
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

  void look_at(std::shared_ptr<const StoredBytes> stored) {
    WireReader in(stored->bytes());
    if constexpr (kText) {
      window_ = in.text();
    } else {
      const std::size_t size = codec::decode_size(in, sizeof(Element));
      window_ = {reinterpret_cast<const Element*>(in.take(size * sizeof(Element))), size};
    }
    stored_ = std::move(stored);
  }

  Ref<T> ref_;
  std::shared_ptr<const StoredBytes> stored_;
  std::shared_ptr<const T> decoded_;
  std::conditional_t<kSpan, std::span<const Element>, std::conditional_t<kText, std::string_view, const T*>> window_{};
};

}  // namespace mobula
