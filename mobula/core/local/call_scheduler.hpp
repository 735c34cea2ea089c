/// Decides what becomes of the calls that worker processes run: which waits and which is handed out, what a worker's
/// death retries or fails, when an actor is made anew, what a cancellation or the end of the runtime stops.
///
/// A state machine without threads, clocks, processes or memory of its own to share: what happened comes in as a call of
/// a member function, what is to be done goes out as a list of Decisions. ProcessPool carries them out on real processes,
/// the simulator (mobula/core/sim) on imagined ones.
///
/// Calls wait in lanes. A lane has a number of slots, in which handed-out calls lie until they end, and one or more
/// workers, each of which takes the oldest call handed out and runs it. Every handing out has a turn of its own within
/// its lane, so that a report about an earlier one is recognised and changes nothing.
///
///     Decisions todo;
///     const CallId call = scheduler.submit(lane, {.retries = 3}, todo);  // todo: place `call` into a slot, or nothing yet
///     ...                                                                // a worker runs it
///     scheduler.ended(lane, slot, turn, false);                          // returns `call`: it is over
///     scheduler.refill(lane, todo);                                      // todo: place the next
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "mobula/core/local/slab.hpp"

namespace mobula {

/// A call from its submission to its end. Numbers are used again afterwards.
using CallId = std::uint32_t;
using LaneId = std::uint32_t;
/// A worker from its start to its death, never 0. Numbers are used again, later.
using WorkerId = std::uint32_t;
inline constexpr CallId kNoCall = ~CallId{0};

/// Why a call ends without having run to its end.
enum class FailReason : std::uint8_t {
  cancelled,    ///< before it ran
  interrupted,  ///< while it ran, and its worker died of it
  worker_died,  ///< with no retries left
  actor_died,   ///< its actor is gone and is not made again
  no_worker,    ///< workers die before they have run anything, again and again
  stopped,      ///< the runtime ended before it ran
};

/// Returns the reason's spelling, such as "worker_died".
const char* to_string(FailReason reason) noexcept;

/// What whoever owns the processes is to do.
struct Decision {
  enum class Kind : std::uint8_t {
    place,       ///< hand `call` out: into `slot`, as turn `turn`
    withdraw,    ///< take the call in `slot` back if no worker runs it yet; answer with withdrawn() or not_withdrawn()
    interrupt,   ///< tell the running call in `slot` to stop
    fail,        ///< `call` is over, for `reason`
    remake,      ///< `call` stands for one more call of the actor's constructor; it is placed later
    clear_lane,  ///< empty all slots and move the lane's first turn to its next: its calls are placed anew
    actor_died,  ///< the actor is gone for good: later calls on it fail
    start_worker,  ///< start `worker` for `lane`, in the place that `slot` numbers
    end_worker,    ///< kill `worker`
    free_lane,     ///< nothing refers to `lane` any more
  };
  Kind kind;
  FailReason reason = FailReason::cancelled;  ///< fail
  std::uint16_t attempts = 0;                 ///< fail: how often the call was begun before
  LaneId lane = 0;
  std::uint32_t slot = 0;
  std::uint32_t turn = 0;
  CallId call = kNoCall;
  WorkerId worker = 0;
};
/// To be carried out in this order, before anything but the answers is told to the scheduler.
using Decisions = std::vector<Decision>;

/// What kind of lane is opened.
struct LaneOptions {
  std::uint32_t num_slots = 1;
  std::uint32_t num_workers = 1;
  bool actor = false;    ///< calls keep their order, around an object that dies with its only worker
  int max_restarts = 0;  ///< actor: how often the object is made anew; -1: always
};

/// What the scheduler needs to know of a call.
struct CallOptions {
  int retries = 0;           ///< how often it is made again when its worker dies
  bool constructor = false;  ///< makes the actor's object: made again before anything else whenever the object dies
  bool last = false;         ///< ends the actor's object: once it has run, the object isn't made again
  bool cancelled = false;    ///< cancellation was asked for already: a death isn't retried
};

/// One handing out of a call.
struct Placement {
  std::uint32_t slot = 0;
  std::uint32_t turn = 0;
};

class CallScheduler {
 public:
  /// Time since whatever point the owner counts from.
  using Time = std::chrono::milliseconds;
  static constexpr WorkerId kMaxWorkers = 0xfffe;
  /// Deaths in a row of workers that had not begun anything, after which the lane's calls fail.
  static constexpr int kMaxBarrenDeaths = 10;

  virtual ~CallScheduler() = default;

  /// Opens a lane and starts its workers.
  LaneId open_lane(const LaneOptions& options, Decisions& todo);
  /// Starts the worker of an actor's lane that was opened with none.
  void start_actor(LaneId lane, Decisions& todo);
  /// The lane's user is gone, and all its calls have ended: ends its workers.
  void close_lane(LaneId lane, Decisions& todo);

  /// Starts one more worker for a lane, for good: one of its workers waits for calls that others must run.
  void add_worker(LaneId lane, Decisions& todo);
  /// Returns the call that a slot holds, or kNoCall.
  CallId call_in(LaneId lane, std::uint32_t slot) const { return lanes_[lane]->slots[slot].call; }

  /// Takes a call in: behind those submitted before. Not after stop().
  CallId submit(LaneId lane, const CallOptions& options, Decisions& todo);
  /// The call in a slot has run to its end, with success or not. Returns it; kNoCall where that turn is over already.
  /// Follow with refill().
  CallId ended(LaneId lane, std::uint32_t slot, std::uint32_t turn, bool failed);
  /// A call could not be placed: it is over. Returns it.
  CallId refused(LaneId lane, std::uint32_t slot, std::uint32_t turn, Decisions& todo);
  /// Hands out what waits, as far as slots are free.
  void refill(LaneId lane, Decisions& todo);

  /// Stops a call: one that waits never runs, one that runs is told; forced: its worker is killed.
  void cancel(CallId call, bool forced, Decisions& todo);
  /// Answers to Decision::withdraw.
  void withdrawn(LaneId lane, std::uint32_t slot, std::uint32_t turn, Decisions& todo);
  void not_withdrawn(LaneId lane, std::uint32_t slot, std::uint32_t turn, WorkerId runs_it, Decisions& todo);
  /// Kills an actor for good: what it runs and what waits for it fails.
  void kill(LaneId lane, Decisions& todo);

  /// A worker is dead, or could not be started; `running` is what it had begun and not ended.
  void worker_ended(WorkerId worker, std::span<const Placement> running, Time now, Decisions& todo);
  /// Starts the workers whose time has come.
  void tick(Time now, Decisions& todo);
  /// Returns when tick() is to be called next.
  std::optional<Time> next_tick() const;

  /// Fails what has not begun. Running calls go on; no worker is replaced any more.
  void stop(Decisions& todo);
  /// Ends all workers; their deaths mean nothing any more.
  void end_workers(Decisions& todo);

  bool stopping() const noexcept { return stopping_; }
  std::size_t num_placed() const noexcept { return num_placed_; }
  std::size_t num_waiting(LaneId lane) const { return lanes_[lane]->backlog.size(); }
  std::size_t num_workers(LaneId lane) const { return lanes_[lane]->workers.size(); }
  /// Returns how many calls have been submitted and are not over.
  std::size_t num_calls() const noexcept { return num_calls_; }
  /// Returns how many times an actor was made anew.
  int num_restarts(LaneId lane) const { return lanes_[lane]->restarts; }

 protected:
  /// What is known of a call.
  struct Call {
    LaneId lane = 0;
    std::uint32_t slot = kWaiting;
    std::uint32_t turn = 0;
    std::int32_t retries = 0;
    std::uint16_t attempts = 0;
    bool last = false;
    bool cancelled = false;
    bool forced = false;  ///< the cancellation kills its worker
    bool live = false;
    bool gone = false;  ///< ended while its number still lies in a backlog
  };
  /// Decides whether a call that was running when its worker died is made again. Overridden by tests of the simulator,
  /// which must find what a wrong answer breaks.
  virtual bool retry(const Call& call) const { return call.attempts < call.retries; }
  /// Tells whether a report is about the present use of a slot. Overridden by such tests too.
  virtual bool current(std::uint32_t slots_turn, std::uint32_t reported_turn) const {
    return slots_turn == reported_turn;
  }

 private:
  static constexpr std::uint32_t kWaiting = ~std::uint32_t{0};

  struct Slot {
    CallId call = kNoCall;
    std::uint32_t turn = 0;
  };
  struct Start {
    Time when;
    std::uint32_t place;
  };
  struct Lane {
    LaneOptions options;
    std::vector<Slot> slots;
    std::vector<std::uint32_t> free_slots;
    std::deque<CallId> backlog;
    std::vector<WorkerId> workers;
    std::vector<Start> starts;            ///< workers to be started later
    std::vector<std::uint32_t> given_up;  ///< places whose workers are not started before the next call comes
    std::uint32_t next_turn = 0;
    int restarts = 0;
    int barren_deaths = 0;
    CallId constructor = kNoCall;  ///< while it waits or runs, the first time or again
    bool constructed = false;      ///< the constructor has been submitted
    bool dead = false;             ///< the object is not made again
    bool buried = false;           ///< nothing is handed out any more
    bool closing = false;
  };
  struct Worker {
    LaneId lane = 0;
    std::uint32_t place = 0;
    bool expected = false;
  };

  CallId new_call(LaneId lane, const CallOptions& options);
  void release_call(CallId call);
  void place(LaneId lane, CallId call, Decisions& todo);
  /// Empties a slot; returns its call, or kNoCall where the turn is over.
  CallId take(Lane& lane, std::uint32_t slot, std::uint32_t turn);
  /// Empties all slots; adds their calls, oldest first.
  void take_placed(Lane& lane, std::vector<CallId>& calls);
  void fail(CallId call, FailReason reason, Decisions& todo);
  void fail_waiting(Lane& lane, FailReason reason, Decisions& todo);
  void start_worker(LaneId lane, std::uint32_t place, Decisions& todo);
  void replace_worker(LaneId lane, std::uint32_t place, Time now, Decisions& todo);
  void restart_actor(LaneId id, std::vector<CallId> again, Decisions& todo);
  void bury_actor(LaneId id, std::vector<CallId> again, FailReason reason, Decisions& todo);
  void free_lane(LaneId lane, Decisions& todo);

  Slab<Call> calls_;
  CallId num_numbers_ = 0;  ///< of calls, ever in use
  std::vector<CallId> free_calls_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<LaneId> free_lanes_;
  std::map<WorkerId, Worker> workers_;
  WorkerId next_worker_ = 1;
  std::size_t num_placed_ = 0;
  std::size_t num_calls_ = 0;
  bool stopping_ = false;
};

}  // namespace mobula
