#include "mobula/core/sim/call_simulation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "mobula/base/random.hpp"
#include "mobula/core/local/resource_scheduler.hpp"

namespace mobula::sim {
namespace {

constexpr int kNobody = -1;
/// More than any drawn schedule needs: a run that comes here goes round in circles.
constexpr std::int64_t kMostEvents = 2'000'000;

/// A call as its submitter knows it.
struct ImaginedCall {
  int actor = kNobody;
  int retries = 0;
  int sequence = 0;  ///< among the actor's calls; 0: the constructor
  int waits_for = kNobody;
  ResourceSet need;
  Time duration = 0;
  bool throws = false;
  bool submitted = false;
  bool cancelled = false;
  bool forced = false;
  bool over = false;
  bool succeeded = false;
  bool holds_resources = false;
  int begun = 0;
  CallId id = kNoCall;
};

struct ImaginedActor {
  LaneId lane = 0;
  int max_restarts = 0;
  bool killed = false;
  bool dead = false;
  int unfinished = 0;
  bool closed = false;
};

/// What is handed out: a call, or a constructor that is called again.
struct HandedOut {
  std::uint32_t slot = 0;
  std::uint32_t turn = 0;
  int call = kNobody;
  WorkerId worker = 0;  ///< that runs it
  bool finished = false;
  bool failed = false;
};

struct ImaginedLane {
  bool open = false;
  int incarnation = 0;
  int actor = kNobody;
  std::uint32_t cleared_below = 0;
  Time link_free = 0;                          ///< messages of one lane keep their order
  std::deque<HandedOut> channel;               ///< arrived, not begun
  std::map<std::uint32_t, HandedOut> running;  ///< by turn: begun, and not yet known to have ended
  std::set<std::uint32_t> withdrawn;           ///< before they arrived
  std::uint32_t seen = 0;                      ///< turns below have arrived
  int barren_deaths = 0;                       ///< in a row
  int newest_begun = kNobody;                  ///< of the calls that were begun for the first time
};

struct ImaginedWorker {
  LaneId lane = 0;
  int incarnation = 0;
  int node = 0;
  bool alive = true;
  bool ready = false;
  bool slow = false;
  std::optional<std::uint32_t> turn;  ///< what it runs
  // Of an actor's worker:
  bool constructed = false;
  bool construction_failed = false;
  int last_sequence = 0;
};

struct End {
  int call;
  bool succeeded;
  std::string how;
};

class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options)
      : options_(options),
        f_(options.failures),
        random_(options.seed),
        scheduler_(options.make_scheduler()),
        resources_(
            machine(), [this](int count) { request_slots(count); }, [this](int count) { free_slots_ += count; }) {}

  SimulationResult run();

 private:
  static ResourceSet machine() {
    ResourceSet total;
    total.set("cpu", 4);
    total.set("gpu", 2);
    total.set("scanner", 1);
    return total;
  }
  template <class... A>
  void note(fmt::format_string<A...> format, A&&... arguments) {
    if (!options_.trace) return;
    result_.trace.push_back(
        fmt::format("{:>9} us  {}", events_.now(), fmt::format(format, std::forward<A>(arguments)...)));
  }
  template <class... A>
  void violate(fmt::format_string<A...> format, A&&... arguments) {
    std::string text = fmt::format("at {} us: {}", events_.now(), fmt::format(format, std::forward<A>(arguments)...));
    if (options_.trace) result_.trace.push_back("VIOLATION " + text);
    result_.violations.push_back(std::move(text));
  }
  bool chance(double probability) { return probability > 0 && random_.uniform() < probability; }
  Time up_to(Time most) { return 1 + static_cast<Time>(random_.below(static_cast<std::uint64_t>(most))); }
  Time delay() { return up_to(f_.longest_delay); }
  CallScheduler::Time clock() const { return CallScheduler::Time{events_.now() / 1000}; }

  void imagine_work();
  void submit(int number);
  void start(int number);
  void request_slots(int count);
  void carry_out();
  void place(const Decision& decision);
  void arrive(LaneId lane, HandedOut handed_out);
  void withdraw(const Decision& decision);
  void start_worker(const Decision& decision);
  void wake(LaneId lane);
  void look_for_work(WorkerId id);
  void finish(WorkerId id, std::uint32_t turn, int incarnation);
  void report(LaneId lane, std::uint32_t slot, std::uint32_t turn, int incarnation);
  void collect(LaneId lane);
  void die(WorkerId id, const char* how);
  void death_is_known(WorkerId id);
  void fail(const Decision& decision);
  void end(int number, bool succeeded, const std::string& how);
  void close_actor(int actor);
  void stop();
  void check_end();
  std::string name(int call) const;

  SimulationOptions options_;
  const FailureSchedule& f_;
  Random random_;
  EventQueue events_;
  std::unique_ptr<CallScheduler> scheduler_;
  ResourceScheduler resources_;
  ResourceSet in_use_;
  int free_slots_ = 4;
  Decisions todo_;
  std::deque<End> ends_;
  SimulationResult result_;
  std::vector<ImaginedCall> calls_;
  std::vector<ImaginedActor> actors_;
  std::map<CallId, int> by_id_;  ///< kNobody: a constructor called again
  std::vector<ImaginedLane> lanes_;
  std::map<WorkerId, ImaginedWorker> workers_;
  std::vector<bool> node_alive_;
  LaneId tasks_ = 0;
  int num_over_ = 0;
  bool stopped_ = false;
  bool ended_workers_ = false;
  Time next_tick_ = -1;
};

std::string Simulation::name(int call) const {
  if (call == kNobody) return "the constructor once more";
  const ImaginedCall& c = calls_[static_cast<std::size_t>(call)];
  if (c.actor == kNobody) return fmt::format("task {}", call);
  return c.sequence == 0 ? fmt::format("call {} (actor {}'s constructor)", call, c.actor)
                         : fmt::format("call {} (actor {}, number {})", call, c.actor, c.sequence);
}

void Simulation::imagine_work() {
  node_alive_.assign(static_cast<std::size_t>(f_.num_nodes), true);
  tasks_ = scheduler_->open_lane({.num_slots = static_cast<std::uint32_t>(f_.num_slots),
                                  .num_workers = static_cast<std::uint32_t>(f_.num_workers)},
                                 todo_);
  lanes_.resize(tasks_ + 1);
  lanes_[tasks_].open = true;
  carry_out();
  const Time span = 1 + f_.longest_call * (f_.num_tasks + f_.calls_per_actor) / f_.num_workers;
  for (int i = 0; i < f_.num_tasks; ++i) {
    ImaginedCall call;
    call.retries = static_cast<int>(random_.below(4));
    call.duration = up_to(f_.longest_call);
    call.throws = chance(f_.throws);
    switch (random_.below(8)) {
      case 0:
        call.need.set("gpu", 0.5);
        call.need.set("cpu", 1);
        break;
      case 1:
        call.need.set("cpu", 3);
        break;
      case 2:
        call.need.set("scanner", 1);
        call.need.set("gpu", 2);
        break;
      default:
        break;
    }
    if (i > 0 && random_.below(4) == 0) {
      call.waits_for = static_cast<int>(random_.below(static_cast<std::uint64_t>(i)));
    }
    calls_.push_back(std::move(call));
  }
  for (int i = 0; i < f_.num_actors; ++i) {
    ImaginedActor actor;
    actor.max_restarts = static_cast<int>(random_.below(4)) - 1;
    actor.lane = scheduler_->open_lane({.num_slots = static_cast<std::uint32_t>(1 + random_.below(8)),
                                        .actor = true,
                                        .max_restarts = actor.max_restarts},
                                       todo_);
    actor.unfinished = f_.calls_per_actor + 1;
    lanes_.resize(std::max<std::size_t>(lanes_.size(), actor.lane + 1));
    lanes_[actor.lane].open = true;
    lanes_[actor.lane].actor = i;
    carry_out();
    const int retries = static_cast<int>(random_.below(3));
    for (int k = 0; k <= f_.calls_per_actor; ++k) {
      ImaginedCall call;
      call.actor = i;
      call.sequence = k;
      call.retries = retries;
      call.duration = up_to(f_.longest_call);
      call.throws = chance(k == 0 ? f_.throws / 4 : f_.throws);
      calls_.push_back(std::move(call));
    }
    actors_.push_back(actor);
  }
  // An actor's calls are made in order; tasks, and different actors, whenever they are.
  std::vector<Time> next(actors_.size(), 0);
  for (std::size_t i = 0; i < calls_.size(); ++i) {
    const int number = static_cast<int>(i);
    if (calls_[i].waits_for != kNobody) continue;
    Time when = up_to(span);
    if (calls_[i].actor != kNobody) {
      Time& last = next[static_cast<std::size_t>(calls_[i].actor)];
      last += up_to(1 + span / (f_.calls_per_actor + 1));
      when = last;
    }
    events_.after(when, [this, number] { submit(number); });
  }
  for (int i = 0; i < f_.num_cancels; ++i) {
    const auto which = static_cast<std::size_t>(random_.below(calls_.size()));
    const bool forced = random_.below(2) == 0;
    events_.after(up_to(span), [this, which, forced] {
      ImaginedCall& call = calls_[which];
      // A constructor has no handle to cancel it by.
      if (call.over || (call.actor != kNobody && call.sequence == 0)) return;
      note("cancel {}{}", name(static_cast<int>(which)), forced ? " by force" : "");
      call.cancelled = true;
      call.forced = forced;
      if (call.id == kNoCall) return;
      scheduler_->cancel(call.id, forced, todo_);
      carry_out();
    });
  }
  for (int i = 0; i < f_.num_kills && !actors_.empty(); ++i) {
    const auto which = static_cast<std::size_t>(random_.below(actors_.size()));
    events_.after(up_to(span), [this, which] {
      ImaginedActor& actor = actors_[which];
      if (actor.closed || stopped_) return;
      note("kill actor {}", which);
      actor.killed = true;
      scheduler_->kill(actor.lane, todo_);
      carry_out();
    });
  }
  for (int i = 0; i < f_.num_node_deaths; ++i) {
    const auto node = static_cast<std::size_t>(random_.below(node_alive_.size()));
    const Time back = up_to(span);
    events_.after(up_to(span), [this, node, back] {
      note("node {} dies", node);
      node_alive_[node] = false;
      for (const auto& [id, worker] : workers_) {
        if (worker.alive && worker.node == static_cast<int>(node)) die(id, "with its node");
      }
      events_.after(back, [this, node] {
        note("node {} is back", node);
        node_alive_[node] = true;
      });
    });
  }
  if (chance(f_.stops_early)) events_.after(up_to(span), [this] { stop(); });
}

void Simulation::submit(int number) {
  ImaginedCall& call = calls_[static_cast<std::size_t>(number)];
  call.submitted = true;
  if (call.cancelled) {
    end(number, false, "cancelled");
    return;
  }
  if (call.need.empty()) {
    start(number);
    return;
  }
  resources_.acquire(call.need, [this, number] {
    ImaginedCall& started = calls_[static_cast<std::size_t>(number)];
    started.holds_resources = true;
    in_use_ += started.need;
    // At the end of the runtime everything is started, to be failed.
    if (!stopped_ && !machine().covers(in_use_)) violate("more is in use than there is: {}", in_use_.text());
    start(number);
  });
}

void Simulation::start(int number) {
  ImaginedCall& call = calls_[static_cast<std::size_t>(number)];
  if (stopped_) {
    end(number, false, "stopped");
    return;
  }
  if (call.cancelled) {
    end(number, false, "cancelled");
    return;
  }
  const bool actor = call.actor != kNobody;
  if (actor && actors_[static_cast<std::size_t>(call.actor)].dead) {
    end(number, false, "actor_died");
    return;
  }
  const LaneId lane = actor ? actors_[static_cast<std::size_t>(call.actor)].lane : tasks_;
  const CallOptions call_options{.retries = call.retries, .constructor = actor && call.sequence == 0};
  note("submit {} to lane {}, {} retries", name(number), lane, call.retries);
  const CallId id = scheduler_->submit(lane, call_options, todo_);
  call.id = id;
  by_id_[id] = number;
  carry_out();
}

void Simulation::request_slots(int count) {
  for (; count > 0; --count) {
    events_.after(delay(), [this] {
      if (--free_slots_ < 0) violate("more slots are set aside than the thread pool has");
      resources_.slot_granted();
    });
  }
}

void Simulation::carry_out() {
  for (std::size_t i = 0; i < todo_.size(); ++i) {
    const Decision decision = todo_[i];
    switch (decision.kind) {
      case Decision::Kind::place:
        place(decision);
        break;
      case Decision::Kind::withdraw:
        withdraw(decision);
        break;
      case Decision::Kind::interrupt: {
        const auto running = lanes_[decision.lane].running.find(decision.turn);
        if (running == lanes_[decision.lane].running.end() || running->second.finished) break;
        const int incarnation = lanes_[decision.lane].incarnation;
        // Some look at it, some don't.
        if (random_.below(2) == 0) break;
        const WorkerId worker = running->second.worker;
        const std::uint32_t turn = decision.turn;
        events_.after(delay(), [this, worker, turn, incarnation] { finish(worker, turn, incarnation); });
        break;
      }
      case Decision::Kind::fail:
        fail(decision);
        break;
      case Decision::Kind::remake:
        note("lane {}: the constructor is called again", decision.lane);
        by_id_[decision.call] = kNobody;
        break;
      case Decision::Kind::clear_lane: {
        ImaginedLane& lane = lanes_[decision.lane];
        lane.channel.clear();
        lane.running.clear();
        lane.cleared_below = decision.turn;
        break;
      }
      case Decision::Kind::actor_died:
        note("actor {} is gone", lanes_[decision.lane].actor);
        actors_[static_cast<std::size_t>(lanes_[decision.lane].actor)].dead = true;
        break;
      case Decision::Kind::start_worker:
        start_worker(decision);
        break;
      case Decision::Kind::end_worker: {
        const WorkerId worker = decision.worker;
        events_.after(delay(), [this, worker] { die(worker, "by our hand"); });
        break;
      }
      case Decision::Kind::free_lane:
        note("lane {} is free", decision.lane);
        lanes_[decision.lane].open = false;
        ++lanes_[decision.lane].incarnation;
        break;
    }
  }
  todo_.clear();
  // Ends are told of when the decisions are carried out: they may lead to new calls.
  while (!ends_.empty()) {
    const End next = ends_.front();
    ends_.pop_front();
    end(next.call, next.succeeded, next.how);
  }
  if (stopped_ && !ended_workers_ && scheduler_->num_placed() == 0) {
    ended_workers_ = true;
    scheduler_->end_workers(todo_);
    carry_out();
  }
  const auto tick = scheduler_->next_tick();
  if (!tick || tick->count() * 1000 == next_tick_) return;
  next_tick_ = tick->count() * 1000;
  events_.after(std::max<Time>(0, next_tick_ - events_.now()), [this] {
    next_tick_ = -1;
    scheduler_->tick(clock(), todo_);
    carry_out();
  });
}

void Simulation::place(const Decision& decision) {
  const int call = by_id_.at(decision.call);
  ImaginedLane& lane = lanes_[decision.lane];
  for (const auto& [turn, running] : lane.running) {
    if (running.slot == decision.slot) violate("slot {} of lane {} is used twice", decision.slot, decision.lane);
  }
  if (chance(f_.refused)) {
    note("no memory for the arguments of {}", name(call));
    const CallId refused = scheduler_->refused(decision.lane, decision.slot, decision.turn, todo_);
    if (refused != decision.call) violate("the scheduler does not know what it placed");
    by_id_.erase(decision.call);
    if (call != kNobody) ends_.push_back({call, false, "refused"});
    return;
  }
  note("hand out {} in lane {}, slot {}, turn {}", name(call), decision.lane, decision.slot, decision.turn);
  const HandedOut handed_out{.slot = decision.slot, .turn = decision.turn, .call = call};
  if (!f_.network) {
    arrive(decision.lane, handed_out);
    return;
  }
  const LaneId id = decision.lane;
  const int incarnation = lane.incarnation;
  const int copies = chance(f_.duplicated) ? 2 : 1;
  for (int copy = 0; copy < copies; ++copy) {
    lane.link_free = std::max(lane.link_free, events_.now() + delay());
    events_.after(lane.link_free - events_.now(), [this, id, incarnation, handed_out] {
      if (lanes_[id].incarnation == incarnation) arrive(id, handed_out);
    });
  }
}

void Simulation::arrive(LaneId id, HandedOut handed_out) {
  ImaginedLane& lane = lanes_[id];
  // Each turn arrives once, and not after the lane was cleared.
  if (handed_out.turn < lane.seen || handed_out.turn < lane.cleared_below) return;
  lane.seen = handed_out.turn + 1;
  if (lane.withdrawn.erase(handed_out.turn) != 0) return;
  lane.channel.push_back(handed_out);
  wake(id);
}

void Simulation::withdraw(const Decision& decision) {
  const int incarnation = lanes_[decision.lane].incarnation;
  const auto ask = [this, decision, incarnation] {
    if (lanes_[decision.lane].incarnation != incarnation) return;
    ImaginedLane& lane = lanes_[decision.lane];
    const auto at = std::find_if(lane.channel.begin(), lane.channel.end(),
                                 [&](const HandedOut& other) { return other.turn == decision.turn; });
    bool taken = at != lane.channel.end();
    if (taken) {
      lane.channel.erase(at);
    } else if (decision.turn >= lane.seen && decision.turn >= lane.cleared_below) {
      taken = lane.withdrawn.insert(decision.turn).second;
    }
    const auto running = lane.running.find(decision.turn);
    const WorkerId worker = running == lane.running.end() ? 0 : running->second.worker;
    const auto answer = [this, decision, incarnation, taken, worker] {
      if (lanes_[decision.lane].incarnation != incarnation) return;
      if (taken) {
        scheduler_->withdrawn(decision.lane, decision.slot, decision.turn, todo_);
      } else {
        scheduler_->not_withdrawn(decision.lane, decision.slot, decision.turn, worker, todo_);
      }
    };
    if (!f_.network) {
      answer();
    } else {
      events_.after(delay(), [this, answer] {
        answer();
        carry_out();
      });
    }
  };
  if (f_.network) {
    events_.after(delay(), ask);
  } else {
    ask();
  }
}

void Simulation::start_worker(const Decision& decision) {
  const WorkerId id = decision.worker;
  std::vector<int> nodes;
  for (std::size_t node = 0; node < node_alive_.size(); ++node) {
    if (node_alive_[node]) nodes.push_back(static_cast<int>(node));
  }
  if (nodes.empty() || chance(f_.fails_to_start)) {
    note("worker {} of lane {} can't be started", id, decision.lane);
    const LaneId lane = decision.lane;
    events_.after(delay(), [this, id, lane] {
      ++lanes_[lane].barren_deaths;
      scheduler_->worker_ended(id, {}, clock(), todo_);
      carry_out();
    });
    return;
  }
  ImaginedWorker worker;
  worker.lane = decision.lane;
  worker.incarnation = lanes_[decision.lane].incarnation;
  worker.node = nodes[static_cast<std::size_t>(random_.below(nodes.size()))];
  worker.slow = chance(f_.slow);
  note("start worker {} of lane {} on node {}{}", id, worker.lane, worker.node, worker.slow ? ", a slow one" : "");
  workers_[id] = worker;
  events_.after(delay(), [this, id] {
    const auto found = workers_.find(id);
    if (found == workers_.end() || !found->second.alive) return;
    found->second.ready = true;
    look_for_work(id);
  });
}

void Simulation::wake(LaneId lane) {
  // Any of those that sleep.
  std::vector<WorkerId> idle;
  for (const auto& [id, worker] : workers_) {
    if (worker.lane == lane && worker.alive && worker.ready && !worker.turn) idle.push_back(id);
  }
  if (idle.empty()) return;
  const WorkerId id = idle[static_cast<std::size_t>(random_.below(idle.size()))];
  events_.after(up_to(10), [this, id] { look_for_work(id); });
}

void Simulation::look_for_work(WorkerId id) {
  const auto found = workers_.find(id);
  if (found == workers_.end()) return;
  ImaginedWorker& worker = found->second;
  ImaginedLane& lane = lanes_[worker.lane];
  if (!worker.alive || worker.turn || !lane.open || lane.incarnation != worker.incarnation) return;
  if (lane.channel.empty()) return;
  HandedOut handed_out = lane.channel.front();
  lane.channel.pop_front();
  handed_out.worker = id;
  worker.turn = handed_out.turn;
  lane.running[handed_out.turn] = handed_out;
  const std::uint32_t turn = handed_out.turn;
  Time duration = 1;
  if (handed_out.call != kNobody) {
    ImaginedCall& call = calls_[static_cast<std::size_t>(handed_out.call)];
    note("worker {} begins {}", id, name(handed_out.call));
    duration = call.duration;
    ++call.begun;
    if (call.begun > 1) ++result_.num_retries;
    const bool constructor = call.actor != kNobody && call.sequence == 0;
    if (call.begun > call.retries + 1 && !constructor) {
      violate("{} is begun for the {}th time, with {} retries", name(handed_out.call), call.begun, call.retries);
    }
    if (call.over && !f_.network) violate("{} is begun, though it is over", name(handed_out.call));
    if (call.begun == 1 && call.actor == kNobody) {
      // What was submitted later has a larger number among ids only by chance; turns tell.
      if (lane.newest_begun != kNobody && static_cast<std::uint32_t>(lane.newest_begun) > turn) {
        violate("{} is overtaken", name(handed_out.call));
      }
      lane.newest_begun = static_cast<int>(turn);
    }
    if (call.actor != kNobody && !constructor) {
      if (!worker.constructed && !worker.construction_failed)
        violate("{} runs without an object", name(handed_out.call));
      if (call.sequence < worker.last_sequence) {
        violate("{} runs after number {}", name(handed_out.call), worker.last_sequence);
      }
      worker.last_sequence = call.sequence;
    }
  } else {
    note("worker {} calls the constructor again", id);
  }
  if (worker.slow) duration *= 50;
  const int incarnation = lane.incarnation;
  if (chance(f_.dies_running)) {
    events_.after(up_to(duration), [this, id, turn] {
      const auto dying = workers_.find(id);
      if (dying != workers_.end() && dying->second.alive && dying->second.turn == turn) die(id, "in a call");
    });
  }
  events_.after(duration + 1, [this, id, turn, incarnation] { finish(id, turn, incarnation); });
}

void Simulation::finish(WorkerId id, std::uint32_t turn, int incarnation) {
  const auto found = workers_.find(id);
  if (found == workers_.end()) return;
  ImaginedWorker& worker = found->second;
  ImaginedLane& lane = lanes_[worker.lane];
  if (!worker.alive || worker.turn != turn || lane.incarnation != incarnation) return;
  HandedOut& running = lane.running.at(turn);
  running.finished = true;
  const bool constructor = running.call == kNobody ||
                           (lane.actor != kNobody && calls_[static_cast<std::size_t>(running.call)].sequence == 0);
  running.failed =
      worker.construction_failed || (running.call != kNobody && calls_[static_cast<std::size_t>(running.call)].throws);
  if (lane.actor != kNobody && constructor) {
    worker.constructed = !running.failed;
    worker.construction_failed = running.failed;
    worker.last_sequence = 0;
  }
  note("worker {} has ended {}{}", id, name(running.call), running.failed ? ", which threw" : "");
  worker.turn.reset();
  const LaneId lane_id = worker.lane;
  const std::uint32_t slot = running.slot;
  const int copies = f_.network && chance(f_.duplicated) ? 2 : 1;
  for (int copy = 0; copy < copies; ++copy) {
    events_.after(delay(), [this, lane_id, slot, turn, incarnation] { report(lane_id, slot, turn, incarnation); });
  }
  if (chance(f_.dies_idle)) {
    // At once, or while it sleeps: then it may be the one that is being woken.
    events_.after(chance(0.5) ? 0 : up_to(50), [this, id] {
      const auto idle = workers_.find(id);
      if (idle != workers_.end() && idle->second.alive && !idle->second.turn) die(id, "after a call");
    });
  }
  events_.after(1, [this, id] { look_for_work(id); });
}

/// The driver learns of an end. In shared memory it takes all that has ended.
void Simulation::report(LaneId id, std::uint32_t slot, std::uint32_t turn, int incarnation) {
  ImaginedLane& lane = lanes_[id];
  if (lane.incarnation != incarnation) return;
  if (!f_.network) {
    collect(id);
  } else {
    const auto found = lane.running.find(turn);
    std::optional<HandedOut> truth;
    if (found != lane.running.end()) truth = found->second;
    lane.running.erase(turn);
    const CallId ended = scheduler_->ended(id, slot, turn, truth && truth->failed);
    if (ended != kNoCall) {
      lane.barren_deaths = 0;
      const int call = by_id_.at(ended);
      by_id_.erase(ended);
      if (!truth) {
        violate("{} is taken for ended by a report about turn {}, which was over", name(call), turn);
      } else if (truth->call != call) {
        violate("{} is taken for ended when {} was", name(call), name(truth->call));
      }
      if (call != kNobody) ends_.push_back({call, true, truth && truth->failed ? "threw" : "ended"});
    }
  }
  if (lanes_[id].incarnation != incarnation) return;
  scheduler_->refill(id, todo_);
  carry_out();
}

void Simulation::collect(LaneId id) {
  ImaginedLane& lane = lanes_[id];
  const int incarnation = lane.incarnation;
  std::vector<HandedOut> finished;
  std::erase_if(lane.running, [&](const auto& entry) {
    if (entry.second.finished) finished.push_back(entry.second);
    return entry.second.finished;
  });
  for (const HandedOut& handed_out : finished) {
    if (lanes_[id].incarnation != incarnation) return;
    const CallId ended = scheduler_->ended(id, handed_out.slot, handed_out.turn, handed_out.failed);
    if (ended == kNoCall) {
      violate("the end of {} is not taken notice of", name(handed_out.call));
      continue;
    }
    lane.barren_deaths = 0;
    const int call = by_id_.at(ended);
    by_id_.erase(ended);
    if (call != handed_out.call) violate("{} is taken for ended when {} was", name(call), name(handed_out.call));
    if (call != kNobody) ends_.push_back({call, true, handed_out.failed ? "threw" : "ended"});
  }
}

void Simulation::die(WorkerId id, const char* how) {
  const auto found = workers_.find(id);
  if (found == workers_.end() || !found->second.alive) return;
  note("worker {} dies {}", id, how);
  ++result_.num_deaths;
  found->second.alive = false;
  events_.after(delay(), [this, id] { death_is_known(id); });
  if (f_.network && chance(f_.duplicated)) {
    events_.after(delay(), [this, id] { death_is_known(id); });
  }
}

void Simulation::death_is_known(WorkerId id) {
  const auto found = workers_.find(id);
  if (found == workers_.end()) return;
  const ImaginedWorker worker = found->second;
  ImaginedLane& lane = lanes_[worker.lane];
  if (!f_.network) {
    collect(worker.lane);
    scheduler_->refill(worker.lane, todo_);
    carry_out();
  }
  workers_.erase(id);
  std::vector<Placement> running;
  std::erase_if(lane.running, [&](const auto& entry) {
    if (entry.second.worker != id) return false;
    running.push_back({entry.second.slot, entry.second.turn});
    return true;
  });
  lane.barren_deaths = running.empty() ? lane.barren_deaths + 1 : 0;
  note("the death of worker {} is known; it ran {} calls", id, running.size());
  if (options_.mistake == Mistake::forgets_what_a_dead_worker_ran) running.clear();
  scheduler_->worker_ended(id, running, clock(), todo_);
  const LaneId lane_id = worker.lane;
  carry_out();
  if (!lane.channel.empty() && options_.mistake != Mistake::wakes_nobody_after_a_death) wake(lane_id);
}

void Simulation::fail(const Decision& decision) {
  const auto found = by_id_.find(decision.call);
  if (found == by_id_.end()) {
    violate("a call fails that nobody knows");
    return;
  }
  const int number = found->second;
  by_id_.erase(found);
  if (number == kNobody) return;
  const ImaginedCall& call = calls_[static_cast<std::size_t>(number)];
  const ImaginedActor* actor = call.actor == kNobody ? nullptr : &actors_[static_cast<std::size_t>(call.actor)];
  bool fits = true;
  switch (decision.reason) {
    case FailReason::cancelled:
      fits = call.cancelled && (call.begun == 0 || call.retries > 0 || f_.network);
      break;
    case FailReason::interrupted:
      fits = call.cancelled && call.begun > 0;
      break;
    case FailReason::worker_died:
      fits = call.begun == call.retries + 1 || stopped_ || (actor != nullptr && call.begun > 0 && call.sequence == 0);
      break;
    case FailReason::actor_died:
      fits = actor != nullptr && actor->dead;
      break;
    case FailReason::no_worker:
      fits = lanes_[decision.lane].barren_deaths >= CallScheduler::kMaxBarrenDeaths;
      break;
    case FailReason::stopped:
      fits = stopped_;
      break;
  }
  if (!fits) {
    violate("{} fails as {}, begun {} times with {} retries{}", name(number), to_string(decision.reason), call.begun,
            call.retries, call.cancelled ? ", cancelled" : "");
  }
  ends_.push_back({number, false, to_string(decision.reason)});
}

void Simulation::end(int number, bool succeeded, const std::string& how) {
  ImaginedCall& call = calls_[static_cast<std::size_t>(number)];
  note("{} is over: {}", name(number), how);
  if (call.over) {
    violate("{} ends twice, the second time as {}", name(number), how);
    return;
  }
  call.over = true;
  call.succeeded = succeeded;
  call.id = kNoCall;
  ++num_over_;
  ++(succeeded ? result_.num_succeeded : result_.num_failed);
  if (call.holds_resources) {
    in_use_ -= call.need;
    if (succeeded || options_.mistake != Mistake::keeps_resources_of_failed_calls) resources_.release(call.need);
    if (options_.mistake == Mistake::gives_resources_back_twice) resources_.release(call.need);
  }
  if (call.actor != kNobody) {
    ImaginedActor& actor = actors_[static_cast<std::size_t>(call.actor)];
    if (call.sequence == 0 && (how == "refused" || how == "threw")) actor.dead = actor.dead || how == "threw";
    // Its handle goes some time after the last call.
    if (--actor.unfinished == 0) {
      const int which = call.actor;
      events_.after(delay(), [this, which] { close_actor(which); });
    }
  }
  for (std::size_t i = 0; i < calls_.size(); ++i) {
    if (calls_[i].waits_for != number || calls_[i].submitted) continue;
    const int waiting = static_cast<int>(i);
    calls_[i].submitted = true;
    events_.after(1, [this, waiting, succeeded] {
      if (succeeded) {
        submit(waiting);
      } else {
        end(waiting, false, "its argument failed");
      }
    });
  }
}

void Simulation::close_actor(int which) {
  ImaginedActor& actor = actors_[static_cast<std::size_t>(which)];
  actor.closed = true;
  if (stopped_) return;
  note("the last handle of actor {} goes", which);
  scheduler_->close_lane(actor.lane, todo_);
  carry_out();
}

void Simulation::stop() {
  if (stopped_) return;
  note("the runtime is stopped");
  stopped_ = true;
  scheduler_->stop(todo_);
  carry_out();
  resources_.stop();
}

SimulationResult Simulation::run() {
  imagine_work();
  while (result_.num_events < kMostEvents && result_.violations.empty() && events_.step()) ++result_.num_events;
  if (result_.num_events >= kMostEvents) violate("it does not come to an end");
  if (result_.violations.empty()) {
    check_end();
    if (!stopped_) {
      stop();
      while (events_.step()) ++result_.num_events;
    }
  }
  if (result_.violations.empty() && scheduler_->num_calls() != 0) {
    violate("{} calls are left after the end", scheduler_->num_calls());
  }
  for (const ImaginedActor& actor : actors_) {
    if (result_.violations.empty() && lanes_[actor.lane].open && !stopped_) violate("an actor's lane is left");
  }
  return std::move(result_);
}

/// When nothing happens any more.
void Simulation::check_end() {
  for (std::size_t i = 0; i < calls_.size(); ++i) {
    if (!calls_[i].over) {
      violate("{} neither ends nor fails (begun {} times, lane has {} workers)", name(static_cast<int>(i)),
              calls_[i].begun, calls_[i].actor == kNobody ? scheduler_->num_workers(tasks_) : 0);
    }
  }
  if (scheduler_->num_calls() != 0) violate("the scheduler still knows {} calls", scheduler_->num_calls());
  if (scheduler_->num_placed() != 0) violate("{} slots are still in use", scheduler_->num_placed());
  const ResourceSet left = resources_.available();
  if (!left.covers(machine()) || !machine().covers(left)) {
    violate("of {} only {} came back", machine().text(), left.text());
  }
  if (stopped_) return;
  for (std::size_t i = 0; i < actors_.size(); ++i) {
    if (lanes_[actors_[i].lane].open) violate("actor {}'s lane is not free", i);
  }
  std::size_t alive = 0;
  for (const auto& [id, worker] : workers_) alive += worker.alive && worker.lane == tasks_ ? 1 : 0;
  if (alive != scheduler_->num_workers(tasks_))
    violate("{} workers live, not {}", alive, scheduler_->num_workers(tasks_));
  if (alive > static_cast<std::size_t>(f_.num_workers)) violate("{} workers are too many", alive);
}

}  // namespace

SimulationResult simulate_calls(const SimulationOptions& options) {
  return Simulation(options).run();
}

}  // namespace mobula::sim
