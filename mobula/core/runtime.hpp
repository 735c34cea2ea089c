/// The door to everything: makes tasks, actors and objects on the engine that an address names.
///
///     int square(int x) { return x * x; }
///     int main(int argc, char** argv) {
///       mobula::Runtime rt(argc, argv);             // --engine local (default) | ray://head:6379
///       mobula::Ref<int> a = rt.remote<square>(7);  // runs elsewhere
///       return rt.get(a) == 49 ? 0 : 1;
///     }
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "mobula/core/actor.hpp"
#include "mobula/core/engine.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/generator.hpp"
#include "mobula/core/options.hpp"
#include "mobula/core/ref.hpp"
#include "mobula/core/task.hpp"
#include "mobula/core/task_group.hpp"
#include "mobula/core/value_object.hpp"

namespace mobula {

struct WaitOptions {
  std::size_t num_ready = 1;             ///< how many to wait for
  std::chrono::nanoseconds timeout{-1};  ///< negative: for ever
};

/// What wait() sorts refs into; the order among them is kept.
template <class T>
struct WaitResult {
  std::vector<Ref<T>> ready;
  std::vector<Ref<T>> pending;
};

/// What happens to an object that was put.
struct PutOptions {
  bool shared =
      false;  ///< encode at once into memory that worker processes see, instead of when the first one needs it
};

/// What a remote call of F returns: a Ref to its result, or a RefStream of what it yields.
template <auto F>
using RemoteResult = typename generator::RemoteResult<typename function::TraitsOf<F>::Result>::type;

class WithTaskOptions;
class WithActorOptions;
struct RuntimeState;
class StateServer;

/// Starts the engine; its destructor stops it. One at a time in a process. Thread-safe but for its end.
class Runtime {
 public:
  /// Reads and removes the runtime's flags (`--engine local|ray://host:port`, `--isolation thread|process`,
  /// `--num-cpus N`, `--memory SIZE`, `--spill-dir DIR`, `--spill-quota SIZE`, `--timeline FILE`, `--metrics-port N`,
  /// `--log-format text|json`; environment MOBULA_ENGINE ...). In a process
  /// that was started as a worker it never returns. Throws Error(invalid_argument), and Error(already_exists) where two remote functions of the
  /// program have one name.
  Runtime(int& argc, char** argv);
  explicit Runtime(RuntimeOptions options = {});
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  /// Stops: what is queued is cancelled, what runs is waited for.
  ~Runtime();

  /// Returns the runtime of this process; inside a task that runs in a worker process, one of its own.
  /// Throws Error(unavailable) where there is none.
  static Runtime& current();

  /// Runs F elsewhere. Arguments are values, or Refs to values; the task waits for those. Where F returns a Generator<T>,
  /// the result is a RefStream<T>.
  template <auto F, class... A>
  RemoteResult<F> remote(A&&... arguments) {
    using Traits = function::TraitsOf<F>;
    if constexpr (generator::yields<F>) {
      return generator::start<F>(engine(), TaskOptions{}, std::forward<A>(arguments)...);
    } else {
      using Call = typename task::CallTaskFor<task::CallFunction<F>, typename Traits::Pointer, A...>::type;
      Task* made = new Call(engine(), 2, nullptr, std::forward<A>(arguments)...);
      Ref<typename Traits::Result> ref(made);
      engine_->submit(made);
      return ref;
    }
  }
  /// Makes an actor: an object of class T, constructed elsewhere.
  template <class T, class... A>
  Actor<T> actor(A&&... arguments) {
    return make_actor<T>(ActorOptions{}, std::forward<A>(arguments)...);
  }
  WithTaskOptions with(TaskOptions options);
  WithActorOptions with(ActorOptions options);

  /// Returns the value; throws the task's exception, with where it came from. Of a temporary Ref that nobody shares the
  /// value is moved, else copied. Never throws TimeoutError without a timeout.
  template <class T>
  T get(const Ref<T>& ref, std::chrono::nanoseconds timeout = std::chrono::nanoseconds(-1)) {
    await(ref.object(), timeout);
    if constexpr (!std::is_void_v<T>) {
      static_assert(std::is_copy_constructible_v<T>,
                    "a value that can't be copied: use get(std::move(ref)) or view(ref)");
      if constexpr (codec::is_flat_vector<T> || std::is_same_v<T, std::string>) {
        // Copied once, from where it is stored.
        if (const auto stored = ref.object()->undecoded()) return from_bytes<T>(stored->pin().bytes());
      }
      return *static_cast<const T*>(ref.object()->value());
    }
  }
  template <class T>
  T get(Ref<T>&& ref, std::chrono::nanoseconds timeout = std::chrono::nanoseconds(-1)) {
    const Ref<T> own = std::move(ref);
    await(own.object(), timeout);
    if constexpr (!std::is_void_v<T>) {
      T* value = static_cast<T*>(own.object()->value());
      if constexpr (std::is_copy_constructible_v<T>) {
        if (!own.object()->unique()) return *value;
      }
      return std::move(*value);
    }
  }
  /// Returns all values, in order; throws the first failed one's error.
  template <class T>
  std::conditional_t<std::is_void_v<T>, void, std::vector<function::Kept<T>>> get(
      const std::vector<Ref<T>>& refs, std::chrono::nanoseconds timeout = std::chrono::nanoseconds(-1)) {
    const auto start = std::chrono::steady_clock::now();
    const auto left = [&] {
      if (timeout.count() < 0) return timeout;
      return std::max(timeout - (std::chrono::steady_clock::now() - start), std::chrono::nanoseconds(0));
    };
    if constexpr (std::is_void_v<T>) {
      for (const auto& ref : refs) get(ref, left());
    } else {
      std::vector<T> values;
      values.reserve(refs.size());
      for (const auto& ref : refs) values.push_back(get(ref, ref && ref.object()->ready() ? timeout : left()));
      return values;
    }
  }
  /// Returns a read-only look at the value, without a copy.
  template <class T>
  View<T> view(const Ref<T>& ref, std::chrono::nanoseconds timeout = std::chrono::nanoseconds(-1)) {
    await(ref.object(), timeout);
    return View<T>(ref);
  }
  /// Waits until `num_ready` of the refs are ready or failed, or the timeout has passed. Pass `std::move(refs)` to save
  /// the copies. At most the number asked for is taken into `ready`.
  template <class T>
  WaitResult<T> wait(std::vector<Ref<T>> refs, WaitOptions options = {}) {
    const std::size_t wanted = std::min(options.num_ready, refs.size());
    if (!enough_ready(refs, wanted)) {
      std::vector<Object*> objects;
      objects.reserve(refs.size());
      for (const auto& ref : refs) objects.push_back(checked(ref.object()));
      wait_ready(objects, wanted, options.timeout);
    }
    WaitResult<T> result;
    result.ready.reserve(wanted);
    auto kept = refs.begin();
    for (auto at = refs.begin(); at != refs.end(); ++at) {
      if (result.ready.size() == wanted) {
        kept = kept == at ? refs.end() : std::move(at, refs.end(), kept);
        break;
      }
      if (*at && at->object()->ready()) {
        result.ready.push_back(std::move(*at));
      } else {
        if (kept != at) *kept = std::move(*at);
        ++kept;
      }
    }
    refs.erase(kept, refs.end());
    result.pending = std::move(refs);
    return result;
  }
  /// Makes an object of a value.
  template <class V>
  Ref<std::remove_cvref_t<V>> put(V&& value, PutOptions options = {}) {
    using T = std::remove_cvref_t<V>;
    codec::require_encodable<T>();
    if (options.shared || options_.isolation == Isolation::process) {
      constexpr EncodeFunction kEncode = [](const void* at, WireWriter& out) {
        codec::encode(out, *static_cast<const T*>(at));
      };
      if (auto stored = engine()->store(&value, kEncode))
        return Ref<T>(new ValueObject<T>(engine(), std::move(stored)));
    }
    return Ref<T>(new ValueObject<T>(engine(), std::in_place, std::forward<V>(value)));
  }
  /// Cancels a task. Returns whether it was stopped before it began, or has been told to stop; its ref then holds a
  /// CancelledError (or, where it goes on to its end, its result).
  template <class T>
  bool cancel(const Ref<T>& ref, Cancel how = Cancel::cooperative) {
    return cancel_object(checked(ref.object()), how);
  }
  /// Returns the actor of that name. Throws Error(not_found) with the nearest name, and Error(invalid_argument) where it
  /// is of another class.
  template <class T>
  Actor<T> find_actor(const std::string& name) {
    return Actor<T>(find_actor_core(name, demangle(typeid(T).name())));
  }
  /// Ends an actor at once: the call that runs is finished (in a process: cut short), those that wait and come later fail
  /// with WorkerDiedError.
  template <class T>
  void kill(const Actor<T>& actor) {
    kill_core(actor.core());
  }
  /// Ends an actor in good order: the calls made so far are finished, its object is destroyed, later calls fail with
  /// WorkerDiedError. Returns a Ref that is ready when that is done; kill() cuts it short.
  template <class T>
  Ref<void> stop(const Actor<T>& actor) {
    using Call = typename task::CallTaskFor<task::CallEnd<T>, void (*)()>::type;
    Task* end = new Call(engine(), 2, actor.core());
    const Ref<void> ended(end);
    stop_core(actor.core(), end);
    return ended;
  }

  /// Tells a running task whether it has been cancelled.
  static bool cancelled() noexcept;

  /// Sets bundles of resources aside, together; see placement.hpp. Throws ResourceError where that can never succeed.
  PlacementGroup placement_group(std::vector<Bundle> bundles, PlacementOptions options = {});
  std::vector<NodeInfo> nodes() const { return engine()->nodes(); }
  ResourceSet resources() const { return engine_->total_resources(); }
  ResourceSet available_resources() const { return engine_->available_resources(); }
  /// Returns what the program is doing; see state.hpp.
  RuntimeState state() const;
  /// Begins or ends a record of the calls that run, for state().
  void record(bool on) { engine()->record(on, false); }
  const RuntimeOptions& options() const noexcept { return options_; }
  /// Returns the engine. Throws Error(unavailable) after shutdown().
  Engine* engine() const {
    if (stopped_) [[unlikely]]
      throw_stopped();
    return engine_.get();
  }
  /// Stops before the destructor does. Refs that are ready can still be read.
  void shutdown();

 private:
  friend class WithTaskOptions;
  friend class WithActorOptions;
  friend class ProcessPool;

  template <class T, class... A>
  Actor<T> make_actor(ActorOptions options, A&&... arguments);
  template <class T, class... A>
  Actor<T> get_or_make_actor(ActorOptions options, A&&... arguments);
  template <class T, class... A>
  Actor<T> make_named_actor(ActorOptions options, A&&... arguments);
  template <class T>
  bool enough_ready(const std::vector<Ref<T>>& refs, std::size_t wanted) const {
    std::size_t count = 0;
    for (const auto& ref : refs) {
      if (ref) checked(ref.object());
      if (count == wanted) break;
      count += ref && ref.object()->ready() ? 1U : 0U;
    }
    return count == wanted;
  }
  void start();
  [[noreturn]] static void throw_stopped();
  /// Returns the object after checking that it is one, and of this runtime.
  Object* checked(Object* object) const {
    if (object == nullptr || object->generation() != generation_) [[unlikely]]
      throw_absent(object);
    return object;
  }
  void await(Object* object, std::chrono::nanoseconds timeout) const {
    checked(object);
    if (!object->ready()) await_slowly(*object, timeout);
    if (object->error() != nullptr) [[unlikely]]
      std::rethrow_exception(object->error());
  }
  void await_slowly(Object& object, std::chrono::nanoseconds timeout) const;
  bool cancel_object(Object* object, Cancel how);
  /// Keeps a name until the actor that is to have it is there, or could not be made. Throws Error(already_exists).
  void reserve_name(const ActorOptions& options);
  void free_name(const ActorOptions& options) noexcept;
  void register_actor(ActorCore* core, const std::string& type);
  /// Returns the actor with one reference; with `reserve`, reserves a name that is free and returns null.
  ActorCore* find_actor_core(const std::string& name, const std::string& type, bool reserve = false);
  void forget_name(ActorCore* core);
  void kill_core(ActorCore* core);
  void stop_core(ActorCore* core, Task* end);

  RuntimeOptions options_;
  std::unique_ptr<Engine> engine_;
  std::uint16_t generation_ = 0;
  bool stopped_ = false;
  std::string answer(std::string_view question);

  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::unique_ptr<StateServer> server_;
  struct Names;
  std::unique_ptr<Names> names_;
};

/// What rt.with(TaskOptions) returns.
class WithTaskOptions {
 public:
  WithTaskOptions(Runtime& runtime, TaskOptions options) : runtime_(runtime), options_(std::move(options)) {}
  template <auto F, class... A>
  RemoteResult<F> remote(A&&... arguments) const {
    using Traits = function::TraitsOf<F>;
    if constexpr (generator::yields<F>) {
      return generator::start<F>(runtime_.engine(), options_, std::forward<A>(arguments)...);
    } else {
      using Call = typename task::CallTaskFor<task::CallFunction<F>, typename Traits::Pointer, A...>::type;
      Task* made = new Call(runtime_.engine(), 2, nullptr, std::forward<A>(arguments)...);
      Ref<typename Traits::Result> ref(made);
      made->extras = std::make_unique<TaskExtras>();
      made->extras->options = options_;
      try {
        runtime_.engine()->submit(made);
      } catch (...) {
        made->release();  // the engine's reference
        throw;
      }
      return ref;
    }
  }

 private:
  Runtime& runtime_;
  TaskOptions options_;
};

/// What rt.with(ActorOptions) returns.
class WithActorOptions {
 public:
  WithActorOptions(Runtime& runtime, ActorOptions options) : runtime_(runtime), options_(std::move(options)) {}
  template <class T, class... A>
  Actor<T> actor(A&&... arguments) const {
    return runtime_.make_actor<T>(options_, std::forward<A>(arguments)...);
  }
  /// Returns the living actor of the options' name, or makes it; one of several callers at once makes it.
  template <class T, class... A>
  Actor<T> get_or_create(A&&... arguments) const {
    return runtime_.get_or_make_actor<T>(options_, std::forward<A>(arguments)...);
  }

 private:
  Runtime& runtime_;
  ActorOptions options_;
};

inline WithTaskOptions Runtime::with(TaskOptions options) {
  return {*this, std::move(options)};
}
inline WithActorOptions Runtime::with(ActorOptions options) {
  return {*this, std::move(options)};
}

template <class T, class... A>
Actor<T> Runtime::make_actor(ActorOptions options, A&&... arguments) {
  reserve_name(options);
  return make_named_actor<T>(std::move(options), std::forward<A>(arguments)...);
}

template <class T, class... A>
Actor<T> Runtime::get_or_make_actor(ActorOptions options, A&&... arguments) {
  if (ActorCore* found = find_actor_core(options.name, demangle(typeid(T).name()), true)) return Actor<T>(found);
  return make_named_actor<T>(std::move(options), std::forward<A>(arguments)...);
}

template <class T, class... A>
Actor<T> Runtime::make_named_actor(ActorOptions options, A&&... arguments) {
  using Callee = task::CallConstructor<T, task::ConstructorParameter<std::remove_cvref_t<A>>...>;
  using Call =
      typename task::CallTaskFor<Callee, void (*)(task::ConstructorParameter<std::remove_cvref_t<A>>...), A...>::type;
  ActorCore* core = nullptr;
  try {
    core = engine()->create_actor(options);
    core->set_title(Callee::name());
    engine()->call(core, new Call(engine(), 1, core, std::forward<A>(arguments)...));
  } catch (...) {
    free_name(options);
    if (core != nullptr) core->release();
    throw;
  }
  register_actor(core, Callee::name());
  return Actor<T>(core);
}

}  // namespace mobula
