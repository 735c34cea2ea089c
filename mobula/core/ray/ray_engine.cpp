#include "mobula/core/ray/ray_engine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <sstream>
#include <type_traits>

#include "mobula/base/log.hpp"
#include "mobula/core/actor_core.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/ray/ray_actor.hpp"
#include "mobula/core/ray/ray_call.hpp"
#include "mobula/core/ray/ray_handles.hpp"
#include "mobula/core/ray/ray_placement.hpp"
#include "mobula/core/ray/ray_worker.hpp"
#include "mobula/core/task_group.hpp"

namespace mobula {
namespace {

using Clock = std::chrono::steady_clock;

/// How often Ray runs a C++ task when its worker dies: once more, whatever it is asked for.
constexpr int kAttemptsOfRay = 2;
/// Ray is asked in turns of this length, so that the end of the program does not wait for a result that never comes.
constexpr int kTurnMs = 500;
constexpr int kWatchTurnMs = 5;
constexpr int kConnectMs = 10000;

std::shared_ptr<RayObject> ray_object(Object& object) {
  return std::const_pointer_cast<RayObject>(std::dynamic_pointer_cast<const RayObject>(object.stored()));
}

RayResource of_ray(const std::string& name, double amount) {
  return {name == "cpu" ? "CPU" : name == "gpu" ? "GPU" : name.c_str(), amount};
}

std::string context_of(const Task& task) {
  return fmt::format("{}, called by {}", task.display_name(), task.caller == nullptr ? "the program" : task.caller);
}

/// Returns what a task or an actor sets aside, by name.
template <class Options>
std::map<std::string, double> needs_of(const Options& options) {
  std::map<std::string, double> needs = options.resources;
  needs["cpu"] = options.cpus;
  needs["gpu"] = options.gpus;
  if (options.memory != 0) needs["memory"] = static_cast<double>(options.memory);
  return needs;
}

ResourceSet set_of(const std::map<std::string, double>& needs) {
  ResourceSet set;
  for (const auto& [name, amount] : needs) set.set(name, amount);
  return set;
}

/// Returns how often a task may still be run, when it has been sent `times` times.
int attempts_left(const Task& task, int times) {
  return task.options().retries + 1 - kAttemptsOfRay * times;
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

/// Returns how long until `deadline`, for Ray: at most a turn.
int turn_until(Clock::time_point deadline) {
  if (deadline == Clock::time_point::max()) return kTurnMs;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, kTurnMs));
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

/// A call, put together for Ray. Keeps what the pointers in it point at.
struct RayEngine::Outgoing {
  std::string name;
  std::string header;
  std::vector<RayId> references;
  std::vector<std::shared_ptr<RayObject>> kept;
  std::map<std::string, double> needs;
  std::shared_ptr<RayReservation> group;
  int bundle = -1;
  RayCall finish() {
    resources.clear();
    for (const auto& [resource, amount] : needs) {
      if (amount > 0) resources.push_back(of_ray(resource, amount));
    }
    RayCall call{};
    call.name = name.c_str();
    call.header = {header.data(), header.size()};
    call.references = references.data();
    call.num_references = references.size();
    call.resources = resources.data();
    call.num_resources = resources.size();
    call.placement_group = group == nullptr ? nullptr : &group->ray_id();
    call.bundle = group == nullptr ? -1 : bundle;
    return call;
  }
  std::vector<RayResource> resources;
};

namespace {

/// Puts arguments together: what lies in Ray's store goes by name, what is large goes there first.
class RayArgumentWriter final : public ArgumentWriter {
 public:
  RayArgumentWriter(RayEngine& engine, std::vector<RayId>& references, std::vector<std::shared_ptr<RayObject>>& kept)
      : engine_(engine), references_(references), kept_(kept) {
    out.set_handles(&handles_);
  }
  const RayHandleWriter& handles() const noexcept { return handles_; }
  void reference(Object& object) override {
    std::shared_ptr<RayObject> stored = ray_object(object);
    if (stored == nullptr) {
      RayHandleWriter handles;
      WireWriter value;
      value.set_handles(&handles);
      object.encode_value(value);
      if (value.bytes().size() <= kRayInlineBytes && handles.empty()) {
        out.number<std::uint32_t>(0);
        out.text(value.bytes());
        return;
      }
      stored = engine_.store(value.bytes(), handles);
      object.attach_stored(stored);
    }
    references_.push_back(stored->id());
    kept_.push_back(std::move(stored));
    out.number(static_cast<std::uint32_t>(references_.size()));
  }

 private:
  RayEngine& engine_;
  RayHandleWriter handles_;
  std::vector<RayId>& references_;
  std::vector<std::shared_ptr<RayObject>>& kept_;
};

}  // namespace

RayEngine::RayEngine(const RuntimeOptions& options) {
  std::string address = options.engine.substr(std::string_view("ray://").size());
  prepare_ray_token(address == "local");
  const RayBridge& bridge = load_ray_bridge();
  if (address == "local") {
    cluster_ = std::make_unique<RayCluster>(bridge.ray_library(), options);
    address = cluster_->address();
  }
  RayFailure failure{};
  const auto deadline = Clock::now() + std::chrono::milliseconds(kConnectMs);
  const std::string plugin = ray_bridge_path();
  const RayConnect connect{address.c_str(), plugin.c_str(), kConnectMs};
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

ResourceSet RayEngine::resources(bool available) const {
  RayBuffer text{};
  RayFailure failure{};
  connection_->while_open([&](const RayBridge& bridge) { bridge.nodes(&text, &failure); });
  if (failure.kind != kRayNone) throw_ray_failure(failure, "the cluster's nodes can't be listed");
  ResourceSet sum;
  if (text.owner == nullptr) return sum;
  std::istringstream lines(std::string(text.data, text.size));
  connection_->bridge().release(text.owner);
  bool alive = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line[0] == '=') continue;
    if (line[0] != '+') {
      alive = line.ends_with(" alive");
      continue;
    }
    const std::size_t last = line.rfind(' ');
    const std::size_t first = line.rfind(' ', last - 1);
    if (!alive || last == std::string::npos || first == std::string::npos) continue;
    std::string name = line.substr(1, first - 1);
    // Each node has a resource of its own name; Ray's store counts as one too.
    if (name.starts_with("node:") || name == "object_store_memory") continue;
    if (name.find("_group_") != std::string::npos) continue;  // a placement group's
    if (name == "CPU") name = "cpu";
    if (name == "GPU") name = "gpu";
    sum.set(name, sum.get(name) +
                      Amount{std::stod(available ? line.substr(last + 1) : line.substr(first + 1, last - first))});
  }
  return sum;
}

ResourceSet RayEngine::total_resources() const {
  return resources(false);
}
ResourceSet RayEngine::available_resources() const {
  return resources(true);
}

void RayEngine::check_resources(const ResourceSet& need, const std::string& who) const {
  for (const auto& [name, amount] : need.amounts()) {
    if (amount > Amount{1} && amount.units() % Amount{1}.units() != 0) {
      throw ResourceError(
          fmt::format("{} asks for {} {:g}: Ray gives out whole ones above 1", who, name, amount.value()),
          "round it up, or stay below 1");
    }
  }
  std::lock_guard lock(resources_mutex_);
  if (known_total_.covers(need)) return;
  known_total_ = total_resources();
  if (known_total_.covers(need)) return;
  throw ResourceError(
      fmt::format("{} needs {}; the cluster's nodes have {} in all", who, need.text(), known_total_.text()),
      "ask for less, or add nodes");
}

std::shared_ptr<Reservation> RayEngine::reserve(const std::vector<Bundle>& bundles, const PlacementOptions& options) {
  ResourceSet sum;
  for (const Bundle& bundle : bundles) {
    ResourceSet need;
    for (const auto& [name, amount] : ray_amounts(bundle)) {
      const std::string ours = name == "CPU" ? "cpu" : name == "GPU" ? "gpu" : name;
      need.set(ours, amount);
      sum.set(ours, sum.get(ours) + Amount{amount});
    }
    check_resources(need, "a bundle of a placement group");
  }
  check_resources(sum, "a placement group");
  std::lock_guard lock(groups_mutex_);
  auto made = std::make_shared<RayReservation>(connection_, groups_.size() + 1, bundles, options);
  groups_.emplace(made->id(), made);
  return made;
}

std::shared_ptr<RayReservation> RayEngine::group_of(const BundleRef& bundle) {
  if (bundle.group == 0) return nullptr;
  std::lock_guard lock(groups_mutex_);
  const auto found = groups_.find(bundle.group);
  if (found == groups_.end()) {
    throw Error(ErrorCode::unsupported,
                "a placement group that another process of the cluster has made can't be used here",
                "start what runs in the group from where it was made");
  }
  return found->second;
}

RayEngine::Outgoing RayEngine::outgoing(Task& task) {
  Outgoing call;
  call.name = task.display_name();
  const TaskOptions& options = task.options();
  RayCallHeader header{.key = task.function().key,
                       .title = call.name,
                       .caller = task.caller == nullptr ? "the program" : task.caller,
                       .environment = options.environment};
  if (options.retry_exceptions || !options.retry_on.empty()) {
    header.retries = options.retries;
    header.retry_on = options.retry_on;
  }
  RayArgumentWriter arguments(*this, call.references, call.kept);
  task.encode_arguments(arguments);
  // Large arguments go through the store, as one object, and those with handles, which Ray then counts.
  const bool large = arguments.out.bytes().size() > kRayInlineBytes || !arguments.handles().empty();
  if (large) {
    call.kept.push_back(store(arguments.out.bytes(), arguments.handles()));
    call.references.push_back(call.kept.back()->id());
  }
  header.references = call.references;
  const std::string library = library_of(task.function());
  WireWriter head;
  head.number(static_cast<std::uint32_t>(library.size()));
  head.raw(library.data(), library.size());
  encode(head, header);
  head.number<std::uint8_t>(large ? 1 : 0);
  if (!large) head.raw(arguments.out.bytes().data(), arguments.out.bytes().size());
  call.header = head.take();
  return call;
}

std::shared_ptr<RayObject> RayEngine::store(std::string_view value, const RayHandleWriter& handles) {
  std::string frame = handles.head();
  frame += value;
  RayId id{};
  RayFailure failure{};
  const bool open = connection_->while_open([&](const RayBridge& bridge) {
    if (bridge.put({frame.data(), frame.size()}, &id, &failure) == kRayNone) {
      handles.note_contents(bridge, &id, own_address_);
    }
  });
  if (!open) throw Error(ErrorCode::unavailable, "the Runtime has been shut down", "do this before shutdown()");
  if (failure.kind != kRayNone) throw_ray_failure(failure, "an object can't be put into Ray's store");
  return std::make_shared<RayObject>(connection_, id);
}

RayId RayEngine::send_once(Task& task, Outgoing& call) {
  // A call of an actor is made once, whatever becomes of its worker: the actor is made for it, and leaves after it.
  RayCall make = call.finish();
  const std::uint32_t nothing = 0;
  make.header = {reinterpret_cast<const char*>(&nothing), sizeof nothing};
  make.references = nullptr;
  make.num_references = 0;
  call.needs.clear();
  RayCall run = call.finish();
  run.placement_group = nullptr;
  run.bundle = -1;
  RayCall end{};
  end.name = "end";
  end.header = {reinterpret_cast<const char*>(&nothing), sizeof nothing};
  end.bundle = -1;
  RayId actor{};
  RayId result{};
  RayId ended{};
  RayFailure failure{};
  const bool open = connection_->while_open([&](const RayBridge& bridge) {
    if (bridge.create_actor(&make, &actor, &failure) != kRayNone) return;
    if (bridge.call_actor(&actor, &run, &result, &failure) != kRayNone) return;
    if (bridge.call_actor(&actor, &end, &ended, &failure) == kRayNone) bridge.release_id(&ended);
  });
  if (!open) throw Error(ErrorCode::unavailable, "the Runtime has been shut down", "do this before shutdown()");
  if (failure.kind != kRayNone) throw_ray_failure(failure, task.display_name());
  return result;
}

RayId RayEngine::send(Task& task, Outgoing& call, int times) {
  if (task.actor() == nullptr && attempts_left(task, times) < kAttemptsOfRay) return send_once(task, call);
  RayCall made = call.finish();
  RayId result{};
  RayFailure failure{};
  auto* actor = static_cast<RayActor*>(task.actor());
  const bool open = connection_->while_open([&](const RayBridge& bridge) {
    if (actor == nullptr) {
      bridge.call(&made, &result, &failure);
    } else {
      const RayId id = actor->id();
      bridge.call_actor(&id, &made, &result, &failure);
    }
  });
  if (!open) throw Error(ErrorCode::unavailable, "the Runtime has been shut down", "do this before shutdown()");
  if (failure.kind != kRayNone) throw_ray_failure(failure, task.display_name());
  return result;
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

// ---- results ----------------------------------------------------------------------------------------------------------

void RayEngine::settle(Object& object, const RayBuffer& frame) {
  const std::string_view bytes(frame.data, frame.size);
  std::exception_ptr error;
  try {
    error = ray_frame_error(bytes);
  } catch (...) {
    error = std::current_exception();
  }
  if (error != nullptr) {
    connection_->bridge().release(frame.owner);
    fail(object, std::move(error));
    return;
  }
  // Several threads may have asked for one result: the first one's answer counts.
  const auto stored = ray_object(object);
  stored->keep(frame);
  if (!claim(object)) return;
  stored->drop_actor();
  TaskGroup* group = nullptr;
  if (Task* task = object.task()) {
    task->drop_arguments();
    group = task->group;
  }
  object.complete();
  if (group != nullptr) group->finished(1);
}

bool RayEngine::claim(Object& object) {
  Task* task = object.task();
  return task != nullptr ? task->claim() : ray_object(object)->claim();
}

void RayEngine::fail(Object& object, std::exception_ptr error) {
  if (!claim(object)) return;
  if (const auto stored = ray_object(object)) stored->drop_actor();
  TaskGroup* group = nullptr;
  if (Task* task = object.task()) {
    task->drop_arguments();
    group = task->group;
  }
  if (group != nullptr) group->fail(error);
  object.complete_with(std::move(error));
  if (group != nullptr) group->finished(1);
}

bool RayEngine::call_again(RayActor& actor, Task& failed, const RayId& id) {
  std::lock_guard order(actor.order);
  const auto object = ray_object(failed);
  if (std::memcmp(object->id().bytes, id.bytes, id.size) != 0) return true;  // with another one that failed
  actor.suspect();
  if (!actor.alive()) return false;
  if (object->num_attempts() > actor.options().max_task_retries) {
    actor.note_whether_gone();
    return false;
  }
  actor.await_restart();
  // Calls that had been made keep their results, those after them are made again in their order.
  std::vector<Task*> again;
  for (Task* task : actor.pending) {
    if (task->ready()) continue;
    const RayId waiting = ray_object(*task)->id();
    RayBuffer frame{};
    RayFailure failure{};
    connection_->while_open([&](const RayBridge& bridge) { bridge.get(&waiting, kTurnMs, &frame, &failure); });
    if (failure.kind == kRayNone && is_ray_frame({frame.data, frame.size})) {
      settle(*task, frame);
      continue;
    }
    if (failure.kind == kRayNone) connection_->bridge().release(frame.owner);
    again.push_back(task);
  }
  for (Task* task : again) {
    const auto lost = ray_object(*task);
    if (lost->num_attempts() > actor.options().max_task_retries) continue;
    lost->count_attempt();
    Outgoing call = outgoing(*task);
    lost->replace(send(*task, call, lost->num_attempts()));
  }
  return true;
}

bool RayEngine::try_again(Task& task, const RayFailure& failure, const RayId& id) {
  if (failure.kind != kRayWorkerDied && failure.kind != kRayActorDied && failure.kind != kRayObjectLost) return false;
  const auto object = ray_object(task);
  if (task.actor() != nullptr) return call_again(*static_cast<RayActor*>(task.actor()), task, id);
  const int times = object->num_attempts();
  if (attempts_left(task, times) <= 0) return false;
  object->count_attempt();
  // What it depends on may have been lost with the same worker.
  std::exception_ptr dependency;
  while (Object* missing = task.unready_dependency(dependency)) {
    wait(&missing, 1, 1, std::chrono::nanoseconds(-1));
  }
  if (dependency != nullptr) {
    fail(task, dependency);
    return true;
  }
  Outgoing call = outgoing(task);
  call.needs = needs_of(task.options());
  call.group = group_of(task.options().placement);
  call.bundle = task.options().placement.index;
  object->replace(send(task, call, times));
  return true;
}

bool RayEngine::fetch(Object& object, int timeout_ms) {
  const auto stored = ray_object(object);
  const RayId id = stored->id();
  RayBuffer frame{};
  RayFailure failure{};
  timeout_ms = std::min(timeout_ms, turn_until(stored->deadline()));
  const bool open =
      connection_->while_open([&](const RayBridge& bridge) { bridge.get(&id, timeout_ms, &frame, &failure); });
  if (!open) throw Error(ErrorCode::unavailable, "the Runtime has been shut down", "get what you need before its end");
  if (failure.kind == kRayTimeout) {
    if (Clock::now() < stored->deadline()) return false;
    fail(object, std::make_exception_ptr(TimeoutError(
                     fmt::format("{} has not ended in the {:g} s of its timeout", object.task()->display_name(),
                                 std::chrono::duration<double>(object.task()->options().timeout).count()),
                     "give it more time; on Ray it goes on, though nobody gets its result")));
    return true;
  }
  if (failure.kind == kRayNone && is_ray_frame({frame.data, frame.size})) {
    settle(object, frame);
    return true;
  }
  Task* task = object.task();
  if (failure.kind == kRayNone) {
    connection_->bridge().release(frame.owner);
    failure.kind = task != nullptr && task->actor() != nullptr ? kRayActorDied : kRayWorkerDied;
    constexpr std::string_view kText = "its worker has died, or can't be reached any more";
    std::copy(kText.begin(), kText.end(), failure.message);
  }
  if (task == nullptr) {
    try {
      throw_ray_failure(failure, "an object that another process made");
    } catch (...) {
      fail(object, std::current_exception());
    }
    return true;
  }
  try {
    if (try_again(*task, failure, id)) return task->ready();
    throw_ray_failure(failure, task->display_name());
  } catch (...) {
    fail(object, with_context(std::current_exception(), context_of(*task)));
  }
  return true;
}

void RayEngine::wait(Object* const* objects, std::size_t count, std::size_t wanted, std::chrono::nanoseconds timeout) {
  const auto now = Clock::now();
  const auto deadline =
      timeout.count() < 0 || timeout > Clock::time_point::max() - now ? Clock::time_point::max() : now + timeout;
  if (count == 1) {
    for (;;) {
      if ((*objects)->ready()) return;
      const int turn = turn_until(deadline);
      if (!fetch(**objects, turn) && turn == 0) return;
    }
  }
  std::vector<Object*> pending;
  std::vector<RayId> ids;
  const auto ready = std::make_unique<bool[]>(count);
  // The first look takes all that is there at once, so that results are not waited for one by one.
  for (bool first = true;; first = false) {
    pending.clear();
    ids.clear();
    for (std::size_t i = 0; i < count; ++i) {
      if (objects[i]->ready()) continue;
      pending.push_back(objects[i]);
      ids.push_back(ray_object(*objects[i])->id());
    }
    const std::size_t num_ready = count - pending.size();
    if (num_ready >= wanted) return;
    const int turn = first ? 0 : turn_until(deadline);
    RayFailure failure{};
    const bool open = connection_->while_open([&](const RayBridge& bridge) {
      bridge.wait(ids.data(), ids.size(), first ? ids.size() : wanted - num_ready, turn, ready.get(), &failure);
    });
    if (!open)
      throw Error(ErrorCode::unavailable, "the Runtime has been shut down", "get what you need before its end");
    if (failure.kind != kRayNone && failure.kind != kRayTimeout) throw_ray_failure(failure, "waiting for results");
    for (std::size_t i = 0; i < pending.size(); ++i) {
      if (failure.kind == kRayNone && ready[i]) {
        fetch(*pending[i], kTurnMs);
      } else if (Clock::now() >= ray_object(*pending[i])->deadline()) {
        fetch(*pending[i], 0);
      }
    }
    if (!first && turn == 0) return;
    if (first && Clock::now() >= deadline) return;
  }
}

void RayEngine::watch(Object* object) {
  if (ray_object(*object) == nullptr) return;
  object->retain();
  std::lock_guard lock(watch_mutex_);
  watched_.push_back(object);
  if (!watcher_.joinable()) watcher_ = std::thread([this] { watch_objects(); });
  watch_changed_.notify_one();
}

void RayEngine::watch_objects() {
  pthread_setname_np(pthread_self(), "mobula-ray");
  while (!stopping_.load()) {
    std::vector<Object*> objects;
    {
      std::unique_lock lock(watch_mutex_);
      watch_changed_.wait(lock, [&] { return stopping_.load() || !watched_.empty(); });
      objects = watched_;
    }
    if (stopping_.load() || objects.empty()) continue;
    try {
      wait(objects.data(), objects.size(), 1, std::chrono::milliseconds(kWatchTurnMs));
    } catch (const Error&) {
      return;  // the connection is closed
    }
    std::vector<Object*> done;
    {
      std::lock_guard lock(watch_mutex_);
      const auto ended = std::stable_partition(watched_.begin(), watched_.end(),
                                               [](const Object* object) { return !object->ready(); });
      done.assign(ended, watched_.end());
      watched_.erase(ended, watched_.end());
    }
    for (Object* object : done) object->release();
  }
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
