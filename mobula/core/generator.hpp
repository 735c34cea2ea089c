/// Functions that yield a sequence, and streams of what they yield elsewhere:
///
///     Generator<std::string> lines(std::string path) {
///       std::ifstream file(path);
///       for (std::string line; std::getline(file, line);) co_yield line;
///     }
///     RefStream<std::string> stream = rt.remote<lines>(path);   // runs at once, at most 16 items ahead
///     for (Ref<std::string> line : stream) use(rt.get(line));
///
/// The bound is TaskOptions::buffer. A generator holds a processor only while it makes an item; where its worker process
/// dies it runs again from its start (TaskOptions::retries) and skips what it had yielded, so it must yield the same again.
#pragma once

#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "mobula/core/actor_core.hpp"
#include "mobula/core/function.hpp"
#include "mobula/core/options.hpp"
#include "mobula/core/ref.hpp"
#include "mobula/core/task.hpp"

namespace mobula {

/// A coroutine that yields values of T. Runs only while advance() is called. Called remotely it becomes a RefStream<T>;
/// its parameters are copied into it, so references among them stay valid.
template <class T>
class Generator {
 public:
  using value_type = T;

  struct promise_type {
    std::optional<T> value;
    std::exception_ptr error;

    Generator get_return_object() { return Generator(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    std::suspend_always final_suspend() const noexcept { return {}; }
    template <class U>
    requires std::constructible_from<T, U&&> std::suspend_always yield_value(U&& item) {
      value.emplace(std::forward<U>(item));
      return {};
    }
    void return_void() const noexcept {}
    void unhandled_exception() noexcept { error = std::current_exception(); }
    /// A generator yields; it waits for results with rt.get().
    void await_transform() = delete;
  };

  Generator(Generator&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  Generator& operator=(Generator other) noexcept {
    std::swap(coroutine_, other.coroutine_);
    return *this;
  }
  ~Generator() {
    if (coroutine_) coroutine_.destroy();
  }

  /// Makes the next item. Returns false at the end; throws what the function throws, once.
  bool advance() {
    if (coroutine_.done()) return false;
    coroutine_.promise().value.reset();
    coroutine_.resume();
    if (coroutine_.promise().error != nullptr)
      std::rethrow_exception(std::exchange(coroutine_.promise().error, nullptr));
    return !coroutine_.done();
  }
  /// Returns the item that advance() has made.
  T& value() { return *coroutine_.promise().value; }

 private:
  explicit Generator(std::coroutine_handle<promise_type> coroutine) noexcept : coroutine_(coroutine) {}
  std::coroutine_handle<promise_type> coroutine_;
};

namespace generator {

/// Thrown by the call that asks for an item after the last.
struct EndOfStream : std::exception {
  const char* what() const noexcept override { return "the stream has ended"; }
};

template <class R>
inline constexpr bool is_generator = false;
template <class T>
inline constexpr bool is_generator<Generator<T>> = true;
template <auto F>
inline constexpr bool yields = is_generator<typename function::TraitsOf<F>::Result>;

/// A generator where it runs, with the arguments it refers to.
template <auto F, class Parameters>
class Host;
template <auto F, class... P>
class Host<F, function::ParameterList<P...>> {
 public:
  using Item = typename function::TraitsOf<F>::Result::value_type;

  template <class... A>
  explicit Host(A&&... arguments)
      : arguments_(std::forward<A>(arguments)...),
        items_(std::apply([](auto&... kept) { return F(static_cast<task::Passed<P>>(kept)...); }, arguments_)) {}

  /// Returns item `index`, the first being 0; those before it that were never asked for are made and dropped.
  Item item(std::uint64_t index) {
    for (;;) {
      if (!items_.advance()) throw EndOfStream();
      if (num_made_++ == index) return std::move(items_.value());
    }
  }

 private:
  std::tuple<std::remove_cvref_t<P>...> arguments_;
  Generator<Item> items_;
  std::uint64_t num_made_ = 0;
};

template <class Pointer>
struct ParametersOf;
template <class R, class... P>
struct ParametersOf<R (*)(P...)> {
  using type = function::ParameterList<P...>;
};
template <auto F>
using HostOf = Host<F, typename ParametersOf<typename function::TraitsOf<F>::Pointer>::type>;

/// The call that starts a generator: an actor's constructor.
template <auto F>
struct Start {
  using Result = void;
  static constexpr bool kOnActor = true;
  static std::string name() { return function::name_of<F>(); }
  static const void* address() { return function::address_of<F>(); }
  static void destroy(void* host) { delete static_cast<HostOf<F>*>(host); }
  static constexpr void (*kDestroy)(void*) = &destroy;
  template <class... A>
  static void call(void** actor, A&&... arguments) {
    *actor = new HostOf<F>(std::forward<A>(arguments)...);
  }
};

/// The call that asks it for an item.
template <auto F>
struct Item {
  using Result = typename HostOf<F>::Item;
  static constexpr bool kOnActor = true;
  static std::string name() { return function::name_of<F>() + ", an item"; }
  static const void* address() { return function::address_of<F>(); }
  static constexpr void (*kDestroy)(void*) = nullptr;
  static Result call(void** actor, std::uint64_t index) { return static_cast<HostOf<F>*>(*actor)->item(index); }
};

/// What every stream is made of: an actor that holds the generator, and calls on it that ask for items, as many as may lie
/// unconsumed. Not thread-safe.
class Requests {
 public:
  using Request = Task* (*)(ActorCore* actor, std::uint64_t index);

  /// Takes over one reference to `actor`.
  Requests(ActorCore* actor, Request request, std::size_t buffer);
  Requests(const Requests&) = delete;
  Requests& operator=(const Requests&) = delete;
  ~Requests();

  /// Waits for the next item. Returns it with one reference; null at the end. Throws TimeoutError.
  Object* next(std::chrono::nanoseconds timeout);
  void cancel(Cancel how);

 private:
  void fill();
  void end() noexcept;

  ActorCore* actor_;
  Request request_;
  std::size_t buffer_;
  std::uint64_t next_index_ = 0;
  std::deque<Task*> window_;
};

}  // namespace generator

/// Items of a generator that runs elsewhere, in order; each is a Ref that is ready. What the generator throws is thrown by
/// get() of its last Ref. Ends the generator when it goes. Movable; not thread-safe.
template <class T>
class RefStream {
 public:
  using value_type = Ref<T>;

  explicit RefStream(std::unique_ptr<generator::Requests> requests) : requests_(std::move(requests)) {}

  /// Waits for the next item; nothing at the end. Throws TimeoutError, after which it may be called again.
  std::optional<Ref<T>> next(std::chrono::nanoseconds timeout = std::chrono::nanoseconds(-1)) {
    Object* item = requests_->next(timeout);
    if (item == nullptr) return std::nullopt;
    return Ref<T>(item);
  }
  /// Ends the generator: next() returns nothing from now on. One that is making an item sees Runtime::cancelled();
  /// forced: its worker process is killed.
  void cancel(Cancel how = Cancel::cooperative) { requests_->cancel(how); }

  class iterator {
   public:
    using value_type = Ref<T>;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;
    iterator() = default;
    explicit iterator(RefStream* stream) : stream_(stream), item_(stream->next()) {}
    const Ref<T>& operator*() const { return *item_; }
    iterator& operator++() {
      item_ = stream_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const noexcept { return !item_; }

   private:
    RefStream* stream_ = nullptr;
    std::optional<Ref<T>> item_;
  };
  iterator begin() { return iterator(this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  std::unique_ptr<generator::Requests> requests_;
};

namespace generator {

/// What a remote call of F returns.
template <class R>
struct RemoteResult {
  using type = Ref<R>;
};
template <class T>
struct RemoteResult<Generator<T>> {
  using type = RefStream<T>;
};

/// Makes the actor that a generator runs on, as a task's options say.
ActorCore* make_host(Engine* engine, const TaskOptions& options, const std::string& title);
/// Makes a call on it. Takes over one reference to `call`.
void call_host(ActorCore* host, Task* call);

/// Starts F on an actor of its own.
template <auto F, class... A>
RefStream<typename HostOf<F>::Item> start(Engine* engine, const TaskOptions& options, A&&... arguments) {
  using Pointer = typename function::TraitsOf<F>::Pointer;
  using Begin = typename task::CallTaskFor<Start<F>, Pointer, A...>::type;
  using Next = typename task::CallTaskFor<Item<F>, typename HostOf<F>::Item (*)(std::uint64_t), std::uint64_t>::type;
  ActorCore* actor = make_host(engine, options, Start<F>::name());
  try {
    call_host(actor, new Begin(engine, 1, actor, std::forward<A>(arguments)...));
    const auto request = [](ActorCore* host, std::uint64_t index) -> Task* {
      return new Next(host->engine(), 2, host, index);
    };
    return RefStream<typename HostOf<F>::Item>(std::make_unique<Requests>(actor, request, options.buffer));
  } catch (...) {
    actor->release();
    throw;
  }
}

}  // namespace generator
}  // namespace mobula
