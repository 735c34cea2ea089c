/// Several actors of one class that share the calls made on them.
///
///     ActorPool<Scorer> pool(rt, {.min_size = 1, .max_size = 4}, "model.bin");   // each is constructed with "model.bin"
///     Ref<double> one = pool.submit<&Scorer::score>(text);
///     for (double score : rt.get(pool.map<&Scorer::score>(texts))) ...
///     for (const Ref<double>& done : pool.map_unordered<&Scorer::score>(texts)) ...   // as they finish, a bounded number ahead
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "mobula/core/runtime.hpp"

namespace mobula {

struct ActorPoolOptions {
  int min_size = 1;         ///< actors that are always there
  int max_size = 0;         ///< most actors; 0: as many as the runtime has processors, or min_size
  int calls_per_actor = 2;  ///< unfinished calls on every actor before another one is made
  std::chrono::nanoseconds idle{30'000'000'000};  ///< an actor without calls for so long is ended, down to min_size
  ActorOptions actor;                             ///< of each of them; no name

  /// Throws Error(invalid_argument) that names the member.
  void validate() const;
};

namespace actor_pool {

/// Which actor gets the next call: the one with the fewest unfinished calls. Thread-safe.
class Members {
 public:
  /// `make` makes an actor and returns it with one reference.
  Members(ActorPoolOptions options, std::function<ActorCore*()> make);
  Members(const Members&) = delete;
  Members& operator=(const Members&) = delete;
  ~Members();

  /// Returns an actor with one reference, after counting a call on it; makes one where all are busy, and in the place of
  /// one that has died. End with watch().
  ActorCore* choose();
  /// Notes when the call that `result` comes from has ended.
  void watch(ActorCore* actor, Object& result);
  std::size_t size() const;
  std::size_t most_calls() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace actor_pool

/// Calls go to the actor with the fewest unfinished calls; the pool grows while all are busy and shrinks while some are
/// idle. An actor that has died is replaced at the next call; calls that it took along fail. Thread-safe but for its end,
/// which lets calls go on to theirs.
template <class T>
class ActorPool {
 public:
  /// Every actor is made with copies of `arguments`. `runtime` must outlive the pool.
  template <class... A>
  explicit ActorPool(Runtime& runtime, ActorPoolOptions options = {}, A... arguments)
      : runtime_(runtime), members_(sized(runtime, options), [&runtime, actor = options.actor, arguments...] {
          const Actor<T> made = runtime.with(actor).template actor<T>(arguments...);
          made.core()->retain();
          return made.core();
        }) {}

  /// Calls a member function on some actor.
  template <auto M, class... A>
  Ref<typename function::TraitsOf<M>::Result> submit(A&&... arguments) {
    const Actor<T> actor(members_.choose());
    auto result = actor.template call<M>(std::forward<A>(arguments)...);
    members_.watch(actor.core(), *result.object());
    return result;
  }
  /// Calls it once for each of the inputs; the results are in their order.
  template <auto M, class Inputs>
  std::vector<Ref<typename function::TraitsOf<M>::Result>> map(const Inputs& inputs) {
    std::vector<Ref<typename function::TraitsOf<M>::Result>> results;
    for (const auto& input : inputs) results.push_back(submit<M>(input));
    return results;
  }

  /// Results in the order in which they are there. Calls are made as results are taken, so that only so many are under way
  /// as keep all actors busy. `inputs` must outlive it.
  template <auto M, class Inputs>
  class Unordered {
   public:
    using Result = Ref<typename function::TraitsOf<M>::Result>;
    Unordered(ActorPool& pool, const Inputs& inputs) : pool_(&pool), at_(std::begin(inputs)), end_(std::end(inputs)) {}

    /// Waits for the next result; nothing after the last. Throws TimeoutError.
    std::optional<Result> next(std::chrono::nanoseconds timeout = std::chrono::nanoseconds(-1)) {
      while (running_.size() < pool_->members_.most_calls() && at_ != end_) {
        running_.push_back(pool_->template submit<M>(*at_));
        ++at_;
      }
      if (running_.empty()) return std::nullopt;
      auto sorted = pool_->runtime_.wait(std::move(running_), {.num_ready = 1, .timeout = timeout});
      running_ = std::move(sorted.pending);
      if (sorted.ready.empty()) throw TimeoutError("no result of the pool was there in time", "call next() again");
      return std::move(sorted.ready.front());
    }

    class iterator {
     public:
      using value_type = Result;
      using difference_type = std::ptrdiff_t;
      explicit iterator(Unordered* all) : all_(all), item_(all->next()) {}
      const Result& operator*() const { return *item_; }
      iterator& operator++() {
        item_ = all_->next();
        return *this;
      }
      bool operator==(std::default_sentinel_t) const noexcept { return !item_; }

     private:
      Unordered* all_;
      std::optional<Result> item_;
    };
    iterator begin() { return iterator(this); }
    std::default_sentinel_t end() const noexcept { return {}; }

   private:
    ActorPool* pool_;
    decltype(std::begin(std::declval<const Inputs&>())) at_;
    decltype(std::end(std::declval<const Inputs&>())) end_;
    std::vector<Result> running_;
  };
  template <auto M, class Inputs>
  Unordered<M, Inputs> map_unordered(const Inputs& inputs) {
    return {*this, inputs};
  }

  /// Returns how many actors there are now.
  std::size_t size() const { return members_.size(); }

 private:
  static ActorPoolOptions sized(const Runtime& runtime, ActorPoolOptions options) {
    if (options.max_size == 0) {
      options.max_size = std::max(options.min_size, static_cast<int>(runtime.resources().get("cpu").value()));
    }
    options.validate();
    return options;
  }

  Runtime& runtime_;
  actor_pool::Members members_;
};

}  // namespace mobula
