/// A task as the engines see it: something to run once its dependencies are ready, whose result is an Object.
#pragma once

#include <atomic>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "mobula/core/block_pool.hpp"
#include "mobula/core/codec.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/function.hpp"
#include "mobula/core/object.hpp"
#include "mobula/core/options.hpp"
#include "mobula/core/ref.hpp"
#include "mobula/core/resources.hpp"
#include "mobula/core/timer.hpp"

namespace mobula {

class ActorCore;
class TaskGroup;

/// What only tasks with options of their own need.
struct TaskExtras {
  TaskOptions options;
  int attempts = 0;      ///< how often it has been started again after an exception
  std::size_t lane = 0;  ///< of an actor's call: its concurrency group, see ActorCore::lane_of()
  ResourceSet need;      ///< what is set aside for it, as the engine counts it
  Timer::Id deadline;    ///< of TaskOptions::timeout
  /// Of a task with a timeout: its Ref has its value or error. Whoever sets it completes the task.
  std::atomic<bool> ended{false};

  bool may_retry() const noexcept { return options.retry_exceptions || !options.retry_on.empty(); }
};

/// A call waiting to be made, and the object that its result becomes.
class Task : public Object, public Waiter {
 public:
  /// Bits of the status.
  enum : std::uint8_t { kClaimed = 1, kCancelled = 2, kRunnable = 4 };

  Task* task() noexcept final { return this; }
  virtual const FunctionEntry& function() const noexcept = 0;
  /// Calls the function and keeps its result, without completing. `keep`: leaves the arguments as they are, for another
  /// attempt. Throws what the function throws.
  virtual void invoke(bool keep) = 0;
  /// Returns the next argument that is not ready, or null; the error of a failed one goes to `failure`.
  virtual Object* unready_dependency(std::exception_ptr& failure) = 0;
  /// Destroys the arguments.
  virtual void drop_arguments() noexcept = 0;
  virtual void encode_arguments(ArgumentWriter& writer) = 0;
  /// Tells whether to destroy the result is nothing but to free its memory: no user code, no chain of other objects.
  virtual bool ends_at_once() const noexcept { return false; }
  /// Returns the actor whose call this is, or null.
  virtual ActorCore* actor() const noexcept { return nullptr; }

  /// Takes the right to run, or to cancel, the task. Exactly one caller gets it.
  bool claim() noexcept { return (status_.fetch_or(kClaimed, std::memory_order_acq_rel) & kClaimed) == 0; }
  /// Gives the right to run back, for another attempt.
  void unclaim() noexcept { status_.fetch_and(static_cast<std::uint8_t>(~kClaimed), std::memory_order_acq_rel); }
  bool claimed() const noexcept { return (status_.load(std::memory_order_relaxed) & kClaimed) != 0; }
  /// Tells whether every argument is there: the task may be claimed to be run, and unready_dependency() no more be called,
  /// since whoever runs it may be destroying them.
  bool runnable() const noexcept { return (status_.load(std::memory_order_acquire) & kRunnable) != 0; }
  void set_runnable() noexcept { status_.fetch_or(kRunnable, std::memory_order_release); }
  void request_cancel() noexcept { status_.fetch_or(kCancelled, std::memory_order_relaxed); }
  bool cancel_requested() const noexcept { return (status_.load(std::memory_order_relaxed) & kCancelled) != 0; }

  /// Returns the options; the defaults where none were given.
  const TaskOptions& options() const noexcept;
  /// Returns the task's name for people.
  std::string display_name() const;

  TaskGroup* group = nullptr;          ///< told when the task ends
  std::unique_ptr<TaskExtras> extras;  ///< null: all options at their defaults
  const char* caller = nullptr;        ///< name of the function that submitted it; null: the program itself

 protected:
  using Object::Object;
};

namespace task {

/// An argument as a task keeps it: a value, or a reference to one.
template <class Parameter, class Argument>
struct Slot {
  using Value = std::remove_cvref_t<Parameter>;
  static constexpr bool kReference = false;
  static_assert(!std::is_lvalue_reference_v<Parameter> || std::is_const_v<std::remove_reference_t<Parameter>>,
                "remote functions take values: a parameter can't be a non-const reference");
  static_assert(!std::is_pointer_v<Value>, "remote functions take values: a pointer means nothing in another process");
  Value value;
};
template <class Parameter, class T>
struct Slot<Parameter, Ref<T>> {
  using Value = T;
  static constexpr bool kReference = true;
  static_assert(!std::is_lvalue_reference_v<Parameter> || std::is_const_v<std::remove_reference_t<Parameter>>,
                "an object may be read by many tasks: a parameter can't be a non-const reference");
  Ref<T> value;
};

/// Makes a slot of what the caller passed, converted as a call would.
template <class S, class A>
S make_slot(A&& argument) {
  static_assert(std::is_convertible_v<A&&, decltype(S::value)>, "an argument does not fit the function's parameter");
  if constexpr (!S::kReference) codec::require_encodable<typename S::Value>();
  S slot{static_cast<decltype(S::value)>(std::forward<A>(argument))};
  if constexpr (S::kReference) require_present(slot.value.object());
  return slot;
}

/// How a slot's kind reads in a function's key: a call with a value and one with a Ref decode differently.
template <class S>
std::string slot_key() {
  return S::kReference ? std::string("/r") + typeid(typename S::Value).name() : std::string("/v");
}

/// A Ref for a parameter that is itself a Ref is a value like any other.
template <class Parameter, class Argument>
struct SlotArgumentOf {
  using type = Argument;
};
template <class Parameter, class Argument>
requires std::is_same_v<std::remove_cvref_t<Parameter>, Argument>
struct SlotArgumentOf<Parameter, Argument> {
  using type = void;
};
template <class Parameter, class Argument>
using SlotArgument = typename SlotArgumentOf<Parameter, Argument>::type;

/// Of argument `number` of a task: returns its object where that is not ready; the error of a failed one goes to
/// `failure`, with a line that says which argument it was.
template <class S>
Object* unready(const Task& task, std::size_t number, S& slot, std::exception_ptr& failure) {
  if constexpr (S::kReference) {
    Object* object = slot.value.object();
    if (!object->ready()) return object;
    if (object->error() != nullptr && failure == nullptr) [[unlikely]]
      failure = argument_failure(object->error(), number, task.display_name());
  }
  return nullptr;
}

/// Hands a kept argument to the parameter it is for.
template <class Parameter, class S>
decltype(auto) pass(S& slot, bool keep) {
  using Value = std::remove_cvref_t<Parameter>;
  if constexpr (S::kReference) {
    if constexpr (codec::is_a<Value, View>) {
      return Value(slot.value);
    } else {
      return static_cast<const typename S::Value&>(*static_cast<typename S::Value*>(slot.value.object()->value()));
    }
  } else if constexpr (std::is_lvalue_reference_v<Parameter>) {
    return static_cast<const Value&>(slot.value);
  } else if constexpr (std::is_copy_constructible_v<Value>) {
    return keep ? Value(slot.value) : Value(std::move(slot.value));
  } else {
    (void)keep;
    return Value(std::move(slot.value));
  }
}

template <class S>
void encode_slot(ArgumentWriter& writer, S& slot) {
  if constexpr (S::kReference) {
    writer.reference(*slot.value.object());
  } else {
    codec::encode(writer.out, slot.value);
  }
}

/// How a decoded value reaches its parameter.
template <class Parameter>
using Passed = std::conditional_t<std::is_lvalue_reference_v<Parameter>, Parameter, std::remove_cvref_t<Parameter>&&>;

/// The value a worker process makes of one encoded argument.
template <class Parameter, class S>
auto decode_slot(ArgumentReader& reader) {
  using Value = std::remove_cvref_t<Parameter>;
  if constexpr (S::kReference) {
    auto stored = reader.reference();
    if constexpr (codec::is_a<Value, View>) {
      return Value(std::move(stored));
    } else {
      return from_pinned<typename S::Value>(stored->pin());
    }
  } else {
    return codec::decode<Value>(reader.in);
  }
}

/// What a task makes of its call: F's result, the object of an actor ...
template <class Result>
class ResultTask : public Task {
 public:
  using Kept = function::Kept<Result>;
  static_assert(!std::is_reference_v<Result> && !std::is_pointer_v<Result>,
                "remote functions return values: a reference or pointer means nothing elsewhere");

  void encode_value(WireWriter& out) override {
    if constexpr (!std::is_void_v<Result>) codec::encode(out, *static_cast<const Kept*>(this->value()));
  }
  const char* type_name() const noexcept override { return typeid(Kept).name(); }
  bool ends_at_once() const noexcept override { return std::is_trivially_destructible_v<Kept>; }

 protected:
  // NOLINTNEXTLINE: kept_ is made later
  ResultTask(Engine* engine, std::uint32_t references) : Task(engine, references) {}
  // NOLINTNEXTLINE: kept_ is destroyed by hand, only where it was made
  ~ResultTask() override {
    if (holds_value()) kept_.~Kept();
  }
  void* address() noexcept override { return &kept_; }
  void decode_value(WireReader& in) override {
    if constexpr (std::is_void_v<Result>) {
      new (&kept_) Kept{};
    } else {
      new (&kept_) Kept(codec::decode<Kept>(in));
    }
  }

  union {
    Kept kept_;
  };
};

/// What a task calls: a function.
template <auto F>
struct CallFunction {
  using Result = typename function::TraitsOf<F>::Result;
  static constexpr bool kOnActor = false;
  static std::string name() { return function::name_of<F>(); }
  static const void* address() { return function::address_of<F>(); }
  static constexpr void (*kDestroy)(void*) = nullptr;
  template <class... A>
  static Result call(void**, A&&... arguments) {
    return F(std::forward<A>(arguments)...);
  }
};

/// A member function of an actor's object.
template <auto M>
struct CallMethod {
  using Result = typename function::TraitsOf<M>::Result;
  using Class = typename function::TraitsOf<M>::Class;
  static constexpr bool kOnActor = true;
  static std::string name() { return function::name_of<M>(); }
  static const void* address() { return function::address_of<M>(); }
  static constexpr void (*kDestroy)(void*) = nullptr;
  template <class... A>
  static Result call(void** actor, A&&... arguments) {
    return (static_cast<Class*>(*actor)->*M)(std::forward<A>(arguments)...);
  }
};

/// An actor's constructor. Its parameters are the arguments' own types.
template <class T, class... P>
struct CallConstructor {
  using Result = void;
  static constexpr bool kOnActor = true;
  static std::string name() { return demangle(typeid(T).name()); }
  static const void* address() { return &typeid(T); }
  static void destroy(void* object) { delete static_cast<T*>(object); }
  static constexpr void (*kDestroy)(void*) = &destroy;
  template <class... A>
  static void call(void** actor, A&&... arguments) {
    *actor = new T(std::forward<A>(arguments)...);
  }
};

/// The end of an actor's object, after the calls made before.
template <class T>
struct CallEnd {
  using Result = void;
  static constexpr bool kOnActor = true;
  static constexpr bool kEndsActor = true;
  static std::string name() { return demangle(typeid(T).name()) + "'s end"; }
  static const void* address() { return &typeid(T); }
  static constexpr void (*kDestroy)(void*) = nullptr;
  static void call(void** actor) {
    delete static_cast<T*>(*actor);
    *actor = nullptr;
  }
};
template <class Callee>
inline constexpr bool ends_actor = requires {
  Callee::kEndsActor;
};

/// What a constructor is called with for an argument: the value itself, or the value a Ref points at.
template <class A>
struct ConstructorParameterOf {
  using type = A;
};
template <class T>
struct ConstructorParameterOf<Ref<T>> {
  using type = const T&;
};
template <std::size_t N>
struct ConstructorParameterOf<char[N]> {
  using type = std::string;
};
template <class A>
using ConstructorParameter = typename ConstructorParameterOf<A>::type;

/// Reads and writes the object of an actor; actor_core.hpp is not known here.
void* actor_instance(ActorCore* actor) noexcept;
void set_actor_instance(ActorCore* actor, void* instance, void (*destroy)(void*)) noexcept;
void end_actor_instance(ActorCore* actor) noexcept;

/// Tells the callees that make an actor's object, and know how it ends.
template <class Callee>
concept ConstructsActor = requires(void* object) {
  Callee::destroy(object);
};

/// Makes a RelayedTask<Result>; relayed_task.hpp defines it.
template <class Result>
Task* relay_call(Engine* engine, RelayedCall call);

template <class Callee, class Parameters, class... Slots>
class CallTask;

/// A call with its arguments.
template <class Callee, class... P, class... Slots>
class CallTask<Callee, function::ParameterList<P...>, Slots...> final : public ResultTask<typename Callee::Result> {
  using Result = typename Callee::Result;
  using Base = ResultTask<Result>;
  struct NoActor {
    explicit NoActor(ActorCore*) {}
  };

 public:
  /// `actor` is borrowed: what queues the call keeps it alive.
  template <class... A>
  CallTask(Engine* engine, std::uint32_t references, ActorCore* actor, A&&... arguments)
      : Base(engine, references), actor_(actor), has_arguments_(true) {
    new (&slots_) std::tuple<Slots...>{make_slot<Slots>(std::forward<A>(arguments))...};
    if constexpr (!(Slots::kReference || ...)) this->status_.store(Task::kRunnable, std::memory_order_relaxed);
  }
  static void* operator new(std::size_t size) { return allocate_block(size); }
  static void operator delete(void* memory, std::size_t size) { free_block(memory, size); }

  const FunctionEntry& function() const noexcept override { return registration.entry(); }
  ActorCore* actor() const noexcept override {
    if constexpr (Callee::kOnActor) {
      return actor_;
    } else {
      return nullptr;
    }
  }

  void invoke(bool keep) override { invoke_with(keep, std::index_sequence_for<P...>{}); }

  Object* unready_dependency(std::exception_ptr& failure) override {
    Object* found = nullptr;
    std::size_t number = 0;
    std::apply([&](auto&... slots) { (void)((found = unready(*this, ++number, slots, failure)) || ...); }, slots_);
    return found;
  }
  void drop_arguments() noexcept override {
    if (!has_arguments_) return;
    has_arguments_ = false;
    std::destroy_at(&slots_);
  }
  void encode_arguments(ArgumentWriter& writer) override {
    std::apply([&](auto&... slots) { (encode_slot(writer, slots), ...); }, slots_);
  }

 private:
  ~CallTask() override { drop_arguments(); }
  void destroy() noexcept override { delete this; }

  template <std::size_t... I>
  void invoke_with([[maybe_unused]] bool keep, std::index_sequence<I...>) {
    void* instance = nullptr;
    if constexpr (Callee::kOnActor) instance = actor_instance(actor_);
    if constexpr (ends_actor<Callee>) {
      end_actor_instance(actor_);
      new (&this->kept_) function::Nothing{};
    } else if constexpr (std::is_void_v<Result>) {
      Callee::call(&instance, pass<P>(std::get<I>(slots_), keep)...);
      new (&this->kept_) function::Nothing{};
      if constexpr (ConstructsActor<Callee>) set_actor_instance(actor_, instance, Callee::kDestroy);
    } else {
      new (&this->kept_) Result(Callee::call(&instance, pass<P>(std::get<I>(slots_), keep)...));
    }
  }
  static void run_encoded([[maybe_unused]] ArgumentReader& arguments, [[maybe_unused]] WireWriter& result,
                          void** actor) {
    // Braces: decoded from left to right.
    std::tuple<decltype(decode_slot<P, Slots>(arguments))...> values{decode_slot<P, Slots>(arguments)...};
    arguments.finished();
    const auto call = [&](auto&... value) { return Callee::call(actor, static_cast<Passed<P>>(value)...); };
    if constexpr (std::is_void_v<Result>) {
      std::apply(call, values);
    } else {
      codec::encode_announced<Result>(result, std::apply(call, values));
    }
  }

  union {
    std::tuple<Slots...> slots_;
  };
  [[no_unique_address]] std::conditional_t<Callee::kOnActor, ActorCore*, NoActor> actor_;
  bool has_arguments_;

  static inline const FunctionRegistration registration{{
      .key = Callee::name() + (std::string() + ... + slot_key<Slots>()),
      .name = Callee::name(),
      .address = Callee::address(),
      .run_encoded = &CallTask::run_encoded,
      .destroy_actor = Callee::kDestroy,
      .ends_actor = ends_actor<Callee>,
      .relay = &relay_call<Result>,
  }};
};

/// The type of the task that calls F (a function) with arguments of types A.
template <class Callee, class Pointer, class... A>
struct CallTaskFor;
template <class Callee, class R, class... P, class... A>
struct CallTaskFor<Callee, R (*)(P...), A...> {
  static_assert(sizeof...(P) == sizeof...(A),
                "a remote call needs exactly as many arguments as the function has parameters");
  using type = CallTask<Callee, function::ParameterList<P...>, Slot<P, SlotArgument<P, std::remove_cvref_t<A>>>...>;
};

}  // namespace task
}  // namespace mobula
