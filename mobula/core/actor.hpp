/// Handles on actors.
///
///     struct Counter { int n = 0; int add(int k) { return n += k; } };
///     auto counter = rt.actor<Counter>();
///     Ref<int> n = counter.call<&Counter::add>(2);   // calls run one at a time, in the order they were made
#pragma once

#include <utility>

#include "mobula/core/actor_core.hpp"
#include "mobula/core/engine.hpp"
#include "mobula/core/handles.hpp"
#include "mobula/core/ref.hpp"
#include "mobula/core/relayed_task.hpp"
#include "mobula/core/task.hpp"
#include "mobula/core/value_object.hpp"

namespace mobula {

/// Counted handle on an actor whose object is a T. An actor ends, and its object is destroyed, when the last handle is
/// gone and its queue is empty; named actors live until they are killed or the runtime ends. Handles may be passed to
/// tasks and to other actors.
template <class T>
class Actor {
 public:
  Actor() = default;
  /// Takes over one reference.
  explicit Actor(ActorCore* core) noexcept : core_(core) {}
  Actor(const Actor& other) noexcept : core_(other.core_) {
    if (core_ != nullptr) core_->retain();
  }
  Actor(Actor&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  Actor& operator=(Actor other) noexcept {
    std::swap(core_, other.core_);
    return *this;
  }
  ~Actor() {
    if (core_ != nullptr) core_->release();
  }

  /// Calls a member function; returns where its result will be.
  template <auto M, class... A>
  Ref<typename function::TraitsOf<M>::Result> call(A&&... arguments) const {
    return Ref<typename function::TraitsOf<M>::Result>(send<M>(2, std::forward<A>(arguments)...));
  }
  /// Calls a member function whose result nobody wants; cheaper than call(). An exception it throws is logged.
  template <auto M, class... A>
  void tell(A&&... arguments) const {
    send<M>(1, std::forward<A>(arguments)...);
  }

  /// Returns a door through which calls go to a concurrency group of the actor (ActorOptions::groups):
  /// `actor.in("io").call<&Store::load>(key)`. Throws Error(invalid_argument) where there is no such group.
  class Group;
  Group in(const std::string& group) const { return Group(*this, core_->lane_of(group)); }

  ActorCore* core() const noexcept { return core_; }
  explicit operator bool() const noexcept { return core_ != nullptr; }

 private:
  template <auto M, class... A>
  Task* send(std::uint32_t references, A&&... arguments) const {
    Task* call = make<M>(references, std::forward<A>(arguments)...);
    core_->engine()->call(core_, call);
    return call;
  }
  template <auto M, class... A>
  Task* make(std::uint32_t references, A&&... arguments) const {
    using Traits = function::TraitsOf<M>;
    static_assert(std::is_base_of_v<typename Traits::Class, T>, "this member function is not one of the actor's class");
    using Call = typename task::CallTaskFor<task::CallMethod<M>, typename Traits::Pointer, A...>::type;
    return new Call(core_->engine(), references, core_, std::forward<A>(arguments)...);
  }

  ActorCore* core_ = nullptr;
};

template <class T>
class Actor<T>::Group {
 public:
  Group(Actor actor, std::size_t lane) : actor_(std::move(actor)), lane_(lane) {}
  /// Calls a member function in this group; returns where its result will be.
  template <auto M, class... A>
  Ref<typename function::TraitsOf<M>::Result> call(A&&... arguments) const {
    Task* made = actor_.template make<M>(2, std::forward<A>(arguments)...);
    made->extras = std::make_unique<TaskExtras>();
    made->extras->lane = lane_;
    Ref<typename function::TraitsOf<M>::Result> ref(made);
    actor_.core_->engine()->call(actor_.core_, made);
    return ref;
  }

 private:
  Actor actor_;
  std::size_t lane_;
};

/// In other processes a handle is a number, which the main process keeps the object or actor for.
template <class T>
struct Codec<Ref<T>> {
  using Kept = function::Kept<T>;
  static void encode(WireWriter& out, const Ref<T>& ref) {
    if (!out.counting() && out.handles() == nullptr) throw_handle_leaves_process();
    out.number<std::uint64_t>(out.counting() || !ref ? 0 : out.handles()->add(*ref.object()));
  }
  static Ref<T> decode(WireReader& in) {
    const auto id = in.number<std::uint64_t>();
    return id == 0 ? Ref<T>() : Ref<T>(handle_reader(in)->object(id, typeid(Kept).name(), &ValueObject<Kept>::make));
  }
};
template <class T>
struct Codec<Actor<T>> {
  static void encode(WireWriter& out, const Actor<T>& actor) {
    if (!out.counting() && out.handles() == nullptr) throw_handle_leaves_process();
    out.number<std::uint64_t>(out.counting() || !actor ? 0 : out.handles()->add(*actor.core()));
  }
  static Actor<T> decode(WireReader& in) {
    const auto id = in.number<std::uint64_t>();
    return id == 0 ? Actor<T>() : Actor<T>(handle_reader(in)->actor(id));
  }
};

}  // namespace mobula
