#include "mobula/core/ray/ray_engine.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <thread>
#include <type_traits>

#include "mobula/base/error.hpp"
#include "mobula/core/actor_core.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/ray/ray_actor.hpp"
#include "mobula/core/ray/ray_call.hpp"
#include "mobula/core/ray/ray_handles.hpp"
#include "mobula/core/ray/ray_outgoing.hpp"
#include "mobula/core/ray/ray_placement.hpp"
#include "mobula/core/ray/ray_worker.hpp"

namespace mobula {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kConnectMs = 10000;

ResourceSet set_of(const std::map<std::string, double>& needs) {
  ResourceSet set;
  for (const auto& [name, amount] : needs) set.set(name, amount);
  return set;
}

/// Refuses what Ray's C++ API has no call for.
template <class Options>
void refuse_unsupported(const Options& options, const std::string& who) {
  const auto refuse = [&](std::string_view what, const char* hint) {
    throw Error(ErrorCode::unsupported, fmt::format("{} {}, which Ray's C++ API has no call for", who, what), hint);
  };
  if (options.isolation == Isolation::thread) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{} asks for a thread of this process; on Ray work is done in its workers", who),
                "leave the isolation out, or use --engine local");
  }
  if (!options.labels.empty())
    refuse("asks for a node by its labels", "give the nodes a custom resource, and ask for that");
  if constexpr (std::is_same_v<Options, ActorOptions>) {
    if (options.concurrency > 1 || !options.groups.empty()) {
      refuse("asks for several calls at once", "leave concurrency and groups out, or make several actors");
    }
    if (options.detached) refuse("is to outlive the program", "keep the program that made it alive");
  }
}

/// Throws what explains why there is no connection to `address`.
[[noreturn]] void throw_no_connection(const std::string& address, const RayFailure& failure) {
  const std::string_view reason = failure.message;
  if (failure.kind == kRayRefused && reason.find("token") != std::string_view::npos) {
    throw Error(
        ErrorCode::unavailable, fmt::format("the Ray cluster at {} wants another token: {}", address, reason),
        "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to what the cluster was started with");
  }
  if (failure.kind == kRayRefused) {
    throw Error(ErrorCode::unsupported, fmt::format("the Ray cluster at {} is of another version: {}", address, reason),
                "program and cluster need the same version of Ray");
  }
  throw Error(ErrorCode::unavailable, fmt::format("no Ray cluster can be reached at {}: {}", address, reason),
              "give the head's host and port (ray start --head prints them); the program's own machine must be one of "
              "the cluster's nodes, or send it there: mobula job submit");
}

}  // namespace

RayEngine::RayEngine(const RuntimeOptions& options) {
  std::string address = options.engine.substr(std::string_view("ray://").size());
  if (address == "auto") address = find_ray_address();
  prepare_ray_token(address == "local");
  const RayBridge& bridge = load_ray_bridge();
  if (address == "local") {
    cluster_ = std::make_unique<RayCluster>(bridge.ray_library(), options);
    address = cluster_->address();
  }
  RayFailure failure{};
  const auto deadline = Clock::now() + std::chrono::milliseconds(kConnectMs);
  const std::string plugin = ray_bridge_path();
  // The program of a submitted job: its workers get the job's variables and working directory too.
  const char* job_config = cluster_ == nullptr ? std::getenv("RAY_JOB_CONFIG_JSON_ENV_VAR") : nullptr;
  const RayConnect connect{address.c_str(), plugin.c_str(), job_config, kConnectMs};
  for (;;) {
    failure = {};
    if (bridge.probe(address.c_str(), kConnectMs, &failure) == kRayNone) bridge.connect(&connect, &failure);
    if (failure.kind == kRayNone) break;
    // Our own cluster may still be coming up; another's refusal is final.
    if (cluster_ == nullptr || failure.kind == kRayRefused || Clock::now() > deadline)
      throw_no_connection(address, failure);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  connection_ = std::make_shared<RayConnection>(bridge, true);
  begin();
}

RayEngine::RayEngine(const RayBridge& bridge) : connection_(std::make_shared<RayConnection>(bridge, false)) {
  begin();
}

void RayEngine::begin() {
  connection_->set_engine(this);
  const RayBytes address = connection_->bridge().own_address();
  own_address_.assign(address.data, address.size);
}

RayEngine::~RayEngine() {
  shutdown();
}

std::shared_ptr<RayObject> RayEngine::store(std::string_view value, const RayHandleWriter& handles) {
  const std::string head = handles.head();
  RayId id{};
  RayFailure failure{};
  const bool open = connection_->while_open([&](const RayBridge& bridge) {
    if (bridge.put({head.data(), head.size()}, {value.data(), value.size()}, &id, &failure) == kRayNone) {
      handles.note_contents(bridge, &id, own_address_);
    }
  });
  if (!open) throw Error(ErrorCode::unavailable, "the Runtime has been shut down", "do this before shutdown()");
  if (failure.kind != kRayNone) throw_ray_failure(failure, "an object can't be put into Ray's store");
  return std::make_shared<RayObject>(connection_, id);
}

void RayEngine::submit(Task* task) {
  if (const Task* parent = current_task()) task->caller = parent->function().name.c_str();
  if (task->caller == nullptr) task->caller = ray_worker_task();
  const TaskOptions& options = task->options();
  refuse_unsupported(options, task->display_name());
  Outgoing call = outgoing(*task);
  call.needs = needs_of(options);
  call.group = group_of(options.placement);
  call.bundle = options.placement.index;
  if (task->extras != nullptr) {
    check_resources(set_of(call.needs), task->display_name());
  }
  sent(*task, send(*task, call, 0));
}

void RayEngine::sent(Task& task, const RayId& result) {
  auto object = std::make_shared<RayObject>(connection_, result);
  const auto now = Clock::now();
  const auto timeout = task.options().timeout;
  if (timeout.count() >= 0 && timeout < Clock::time_point::max() - now) object->set_deadline(now + timeout);
  if (ActorCore* actor = task.actor()) {
    actor->retain();
    object->keep_actor(actor);
  }
  task.take_stored(std::move(object));
  task.set_polled();
  // Nobody asks for the results of a group one by one, and who waits since before now has not been noticed.
  if (task.group != nullptr || task.has_waiters()) watch(&task);
  task.release();
}

ActorCore* RayEngine::create_actor(ActorOptions options) {
  const std::string who = options.name.empty() ? "actor" : fmt::format("actor '{}'", options.name);
  refuse_unsupported(options, who);
  check_resources(set_of(needs_of(options)), who);
  return new RayActor(this, std::move(options), connection_);
}

void RayEngine::call(ActorCore* actor, Task* call) {
  auto* target = static_cast<RayActor*>(actor);
  if (const Task* parent = current_task()) call->caller = parent->function().name.c_str();
  if (call->caller == nullptr) call->caller = ray_worker_task();
  if (!target->alive()) {
    const char* how = target->killed() ? "was killed" : "has died";
    fail(*call, std::make_exception_ptr(
                    WorkerDiedError(fmt::format("actor {} {}", actor->title(), how), 0, 0, {},
                                    target->killed() ? "make a new one, or don't kill it while others call it"
                                                     : "make a new one, or give it ActorOptions::max_restarts")));
    call->release();
    return;
  }
  const bool constructor = call->function().destroy_actor != nullptr;
  Outgoing outgoing_call = outgoing(*call);
  if (!constructor) {
    std::lock_guard order(target->order);
    target->await_restart();
    const RayId result = send(*call, outgoing_call, 0);
    if (actor->options().max_task_retries != 0) {
      auto& pending = target->pending;
      while (!pending.empty() && pending.front()->ready()) {
        pending.front()->release();
        pending.pop_front();
      }
      call->retain();
      pending.push_back(call);
      call->retain();
      sent(*call, result);
      watch(call);  // so that the calls behind it are made again, too, where nobody waits for this one
      call->release();
    } else {
      sent(*call, result);
    }
    return;
  }
  const ActorOptions& options = actor->options();
  outgoing_call.needs = needs_of(options);
  outgoing_call.group = group_of(options.placement);
  outgoing_call.bundle = options.placement.index;
  RayCall made = outgoing_call.finish();
  made.actor_name = options.name.empty() ? nullptr : options.name.c_str();
  made.max_restarts = options.max_restarts;
  RayId id{};
  RayFailure failure{};
  connection_->while_open([&](const RayBridge& bridge) { bridge.create_actor(&made, &id, &failure); });
  if (failure.kind != kRayNone) throw_ray_failure(failure, call->display_name());
  target->set_id(id);
  // The object is made later, on its node; where that fails, every call says why.
  call->release();
}

void RayEngine::kill(ActorCore* actor) {
  auto* target = static_cast<RayActor*>(actor);
  if (!target->mark_killed() || target->id().size == 0) return;
  RayFailure failure{};
  connection_->while_open([&](const RayBridge& bridge) { bridge.kill_actor(&target->id(), &failure); });
  if (failure.kind != kRayNone) throw_ray_failure(failure, fmt::format("actor {} can't be killed", actor->title()));
}

bool RayEngine::cancel(Task* task, Cancel) {
  if (task->ready()) return false;
  throw Error(ErrorCode::unsupported,
              fmt::format("{} can't be cancelled: Ray's C++ API has no call for it", task->display_name()),
              "let it end, or make it an actor, which can be killed");
}

ActorCore* RayEngine::find_actor(const std::string& name) {
  RayId id{};
  RayFailure failure{};
  connection_->while_open([&](const RayBridge& bridge) { bridge.find_actor(name.c_str(), &id, &failure); });
  if (failure.kind != kRayNone || id.size == 0) return nullptr;
  auto* actor = new RayActor(this, ActorOptions{.name = name}, connection_);
  actor->borrow(id);
  actor->set_title(name);
  return actor;
}

std::shared_ptr<const StoredBytes> RayEngine::store(const void* value, EncodeFunction encode) {
  RayHandleWriter handles;
  WireWriter out;
  out.set_handles(&handles);
  encode(value, out);
  return out.size() <= kRayInlineBytes && handles.empty() ? nullptr : store(out.bytes(), handles);
}

RayId RayEngine::identity(Object& object) {
  std::shared_ptr<RayObject> stored = ray_object(object);
  if (stored == nullptr) {
    if (!object.ready()) {
      throw Error(ErrorCode::unsupported,
                  "a Ref whose value this program makes itself can't be sent before it is ready", "wait for it first");
    }
    if (object.error() != nullptr) std::rethrow_exception(object.error());
    RayHandleWriter handles;
    WireWriter value;
    value.set_handles(&handles);
    object.encode_value(value);
    stored = store(value.bytes(), handles);
    object.attach_stored(stored);
    stored = ray_object(object);  // another thread's may have been first
  }
  return stored->id();
}

void RayEngine::before_wait(Object* object) {
  const auto* task = dynamic_cast<const Task*>(object);
  const Task* running = current_task();
  if (task == nullptr || running == nullptr || task->actor() == nullptr || task->actor() != running->actor()) return;
  throw_invalid(
      fmt::format("{} waits for a call of its own actor, which can't start before it ends", running->display_name()),
      "return the Ref instead of waiting for it, or call the member function directly");
}

void RayEngine::shutdown() {
  if (stopping_.exchange(true)) return;
  {
    std::lock_guard lock(watch_mutex_);
    watch_changed_.notify_all();
  }
  if (watcher_.joinable()) watcher_.join();
  for (Object* object : watched_) {
    const Task* task = object->task();
    fail(*object, std::make_exception_ptr(CancelledError(fmt::format(
                      "{}: the runtime was shut down", task == nullptr ? "an object" : task->display_name()))));
    object->release();
  }
  watched_.clear();
  connection_->close();
  cluster_.reset();
}

std::unique_ptr<Engine> make_ray_engine(const RuntimeOptions& options) {
  if (const RayBridge* bridge = ray_worker_bridge()) return std::make_unique<RayEngine>(*bridge);
  return std::make_unique<RayEngine>(options);
}

}  // namespace mobula
