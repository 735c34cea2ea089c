// The plug-in: Ray's C++ API behind the C interface of bridge.h. The same file serves the program, which loads it with
// dlopen, and Ray's workers, which load it because the job's code search path names it.
#include "mobula/core/ray/bridge.h"

#include <dlfcn.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <ray/api.h>
#include <sys/socket.h>

#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "mobula/core/ray/plugin/core_worker.hpp"
#include "mobula/core/ray/plugin/gcs_client.hpp"

namespace mobula_ray {
namespace {

using ray::internal::ArgsBuffer;
using ray::internal::ArgsBufferList;
using ray::internal::RayRuntime;

const RayBridge* bridge();

RayBuffer buffer_of(std::shared_ptr<msgpack::sbuffer> bytes) {
  auto* owner = new std::shared_ptr<msgpack::sbuffer>(std::move(bytes));
  return {(*owner)->data(), (*owner)->size(), owner};
}

/// The head's address, for questions of our own.
std::string& head_address() {
  static std::string address;
  return address;
}
constexpr int kAskMs = 5000;

// ---- the side of a worker -------------------------------------------------------------------------------------------

/// Loads a program's library once and returns its entry. Throws std::runtime_error.
RayExecute entry_of(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, RayExecute> entries;
  std::lock_guard<std::mutex> lock(mutex);
  const auto found = entries.find(path);
  if (found != entries.end()) return found->second;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* error = dlerror();
    throw std::runtime_error(error != nullptr ? error : "dlopen failed");
  }
  void* symbol = dlsym(library, MOBULA_RAY_EXECUTE_SYMBOL);
  if (symbol == nullptr) throw std::runtime_error(path + " is not linked with Mobula's core");
  return entries[path] = reinterpret_cast<RayExecute>(symbol);
}

/// Runs a call. Its header starts with the path of the library that holds the function.
msgpack::sbuffer execute(const ArgsBufferList& arguments, void** actor) {
  msgpack::sbuffer out;
  try {
    if (arguments.empty()) throw std::runtime_error("a call without a header");
    std::uint32_t length = 0;
    if (arguments[0].size() < sizeof length) throw std::runtime_error("a call whose header is cut short");
    std::memcpy(&length, arguments[0].data(), sizeof length);
    if (length > arguments[0].size() - sizeof length) throw std::runtime_error("a call whose header is cut short");
    // The last call of an actor that nobody holds any more. Leaves by an exception that is none of std's.
    if (length == 0 && actor != nullptr) ray::ExitActor();
    const RayExecute entry = entry_of(std::string(arguments[0].data() + sizeof length, length));
    const std::size_t start = sizeof length + length;
    std::vector<RayBuffer> objects;
    for (std::size_t i = 1; i < arguments.size(); ++i) {
      // Ray made the list for this call and drops it afterwards; what the call keeps to look at may stay longer.
      auto& argument = const_cast<ArgsBuffer&>(arguments[i]);
      objects.push_back(buffer_of(std::make_shared<msgpack::sbuffer>(std::move(argument))));
    }
    RayBytes result{};
    entry(bridge(), {arguments[0].data() + start, arguments[0].size() - start}, objects.data(), objects.size(), actor,
          &result);
    out.write(result.data, result.size);
  } catch (const std::exception& error) {
    const std::uint64_t kind = kRayMessage;
    out.write(reinterpret_cast<const char*>(&kind), sizeof kind);
    out.write(error.what(), std::strlen(error.what()));
  }
  return out;
}

/// An actor's object lives in the program's library; this holds it.
class Actor {
 public:
  explicit Actor(msgpack::sbuffer outcome) : outcome_(std::move(outcome)) {}
  msgpack::sbuffer call(const ArgsBufferList& arguments) {
    // Where the constructor failed, every call fails as it did.
    std::uint64_t mark = kRayValue;
    if (outcome_.size() >= sizeof mark) std::memcpy(&mark, outcome_.data(), sizeof mark);
    if (mark != kRayValue) {
      msgpack::sbuffer copy;
      copy.write(outcome_.data(), outcome_.size());
      return copy;
    }
    return execute(arguments, &object_);
  }
  void** object() { return &object_; }
  void set_outcome(msgpack::sbuffer outcome) { outcome_ = std::move(outcome); }

 private:
  msgpack::sbuffer outcome_;
  void* object_ = nullptr;
};

// Functions of these types take all arguments as they are, instead of one by one in msgpack's format.
struct Task {};
using TaskFunction = msgpack::sbuffer (*)(const ArgsBufferList&, Task);
using ActorFactory = Actor* (*)(const ArgsBufferList&, Task);

msgpack::sbuffer run_task(const ArgsBufferList& arguments, Task) {
  return execute(arguments, nullptr);
}
Actor* make_actor(const ArgsBufferList& arguments, Task) {
  auto actor = std::make_unique<Actor>(msgpack::sbuffer());
  // One whose header names no library has no object: it is there to run one task.
  if (!arguments.empty() && arguments[0].size() > sizeof(std::uint32_t))
    actor->set_outcome(execute(arguments, actor->object()));
  return actor.release();
}

constexpr const char* kTask = "mobula_task";
constexpr const char* kMakeActor = "mobula_make_actor";
constexpr const char* kCallActor = "mobula_call_actor";

}  // namespace
}  // namespace mobula_ray

namespace ray::internal {
template <>
struct Invoker<mobula_ray::TaskFunction> {
  static msgpack::sbuffer Apply(const mobula_ray::TaskFunction& function, const ArgsBufferList& arguments) {
    return function(arguments, {});
  }
};
template <>
struct Invoker<mobula_ray::ActorFactory> {
  static msgpack::sbuffer Apply(const mobula_ray::ActorFactory& factory, const ArgsBufferList& arguments) {
    return Serializer::Serialize(reinterpret_cast<std::uint64_t>(factory(arguments, {})));
  }
};
template <>
struct Invoker<decltype(&mobula_ray::Actor::call)> {
  static msgpack::sbuffer ApplyMember(const decltype(&mobula_ray::Actor::call)& method, msgpack::sbuffer* object,
                                      const ArgsBufferList& arguments) {
    auto* self =
        reinterpret_cast<mobula_ray::Actor*>(Serializer::Deserialize<std::uint64_t>(object->data(), object->size()));
    return (self->*method)(arguments);
  }
};
}  // namespace ray::internal

namespace mobula_ray {
namespace {

const bool registered = [] {
  auto& functions = ray::internal::FunctionManager::Instance();
  functions.RegisterRemoteFunction(kTask, TaskFunction(&run_task));
  functions.RegisterRemoteFunction(kMakeActor, ActorFactory(&make_actor));
  functions.RegisterRemoteFunction(kCallActor, &Actor::call);
  return true;
}();

// ---- the side of a caller -------------------------------------------------------------------------------------------

RayRuntime& runtime() {
  return *ray::internal::GetRayRuntime();
}

std::string text_of(const RayId& id) {
  return {id.bytes, id.size};
}

void set_id(RayId* id, const std::string& bytes) {
  if (bytes.size() > sizeof id->bytes) throw std::runtime_error("Ray returned an identity of an unknown length");
  std::memcpy(id->bytes, bytes.data(), bytes.size());
  id->size = static_cast<std::uint32_t>(bytes.size());
}

int fail(RayFailure* failure, int kind, const std::string& message) {
  failure->kind = kind;
  // Ray's messages are protobuf's bytes at times, with text among them.
  std::size_t size = 0;
  for (const char c : message) {
    if (size == sizeof failure->message - 1) break;
    if ((c >= ' ' && c <= '~') || c == '\n') failure->message[size++] = c;
  }
  failure->message[size] = '\0';
  return kind;
}

/// A failure of ours, of a kind.
struct Failure : std::runtime_error {
  Failure(int what, const std::string& message) : std::runtime_error(message), kind(what) {}
  int kind;
};

/// Does something and turns Ray's exceptions into a failure.
template <class Work>
int guarded(RayFailure* failure, const Work& work) {
  try {
    work();
    return kRayNone;
  } catch (const Failure& error) {
    return fail(failure, error.kind, error.what());
  } catch (const ray::internal::RayTimeoutException& error) {
    return fail(failure, kRayTimeout, error.what());
  } catch (const ray::internal::RayActorException& error) {
    return fail(failure, kRayActorDied, error.what());
  } catch (const ray::internal::RayWorkerException& error) {
    return fail(failure, kRayWorkerDied, error.what());
  } catch (const ray::internal::UnreconstructableException& error) {
    return fail(failure, kRayObjectLost, error.what());
  } catch (const std::exception& error) {
    return fail(failure, kRayOther, error.what());
  }
}

std::vector<ray::internal::TaskArg> arguments_of(const RayCall& call) {
  std::vector<ray::internal::TaskArg> arguments;
  arguments.reserve(1 + call.num_references);
  ray::internal::TaskArg header;
  msgpack::sbuffer bytes(call.header.size);
  bytes.write(call.header.data, call.header.size);
  header.buf = std::move(bytes);
  arguments.push_back(std::move(header));
  for (std::size_t i = 0; i < call.num_references; ++i) {
    ray::internal::TaskArg reference;
    reference.id = text_of(call.references[i]);
    arguments.push_back(std::move(reference));
  }
  return arguments;
}

template <class Options>
void fill_options(Options& options, const RayCall& call) {
  options.name = call.name;
  for (std::size_t i = 0; i < call.num_resources; ++i) {
    options.resources[call.resources[i].name] = call.resources[i].amount;
  }
  options.bundle_index = -1;
  if (call.placement_group != nullptr) {
    options.group = ray::PlacementGroup(text_of(*call.placement_group), {});
    options.bundle_index = call.bundle;
  }
}

int probe(const char* address, int timeout_ms, RayFailure* failure) {
  const Reply reply = GcsClient(address, timeout_ms).call("NodeInfoGcsService/CheckAlive", {});
  if (reply.answer == Answer::unreachable) return fail(failure, kRayUnavailable, reply.message);
  if (reply.answer == Answer::bad_token) return fail(failure, kRayRefused, reply.message);
  if (reply.answer != Answer::ok) return fail(failure, kRayUnavailable, reply.message);
  return guarded(failure, [&] {
    for (const Field& field : read_message(reply.message)) {
      if (field.number == 2 && field.bytes != MOBULA_RAY_VERSION) {
        throw Failure(kRayRefused,
                      "the cluster runs Ray " + field.bytes + ", this build speaks Ray " MOBULA_RAY_VERSION);
      }
    }
  });
}

/// Returns the addresses of this machine.
std::set<std::string> own_addresses() {
  std::set<std::string> addresses;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return addresses;
  for (const ifaddrs* at = list; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr) continue;
    const int family = at->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    char host[NI_MAXHOST];
    const socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    if (getnameinfo(at->ifa_addr, size, host, sizeof host, nullptr, 0, NI_NUMERICHOST) == 0) addresses.insert(host);
  }
  freeifaddrs(list);
  return addresses;
}

int connect(const RayConnect* options, RayFailure* failure) {
  return guarded(failure, [&] {
    head_address() = options->address;
    // Ray's driver talks to the node of its own machine, and waits for ever where there is none.
    std::string node_address;
    const std::set<std::string> own = own_addresses();
    for (const NodeInfo& node : GcsClient(options->address, options->timeout_ms).nodes()) {
      if (node.alive && own.count(node.address) != 0) node_address = node.address;
    }
    if (node_address.empty()) throw Failure(kRayUnavailable, "no node of the cluster runs on this machine");
    ray::RayConfig config;
    config.address = options->address;
    config.code_search_path = {options->plugin};
    if (options->job_config != nullptr) {
      const auto job = nlohmann::json::parse(options->job_config, nullptr, false);
      const auto environment = job.is_object() ? job.find("runtime_env") : job.end();
      if (job.is_object() && environment != job.end() && environment->is_object() && !environment->empty()) {
        config.runtime_env = ray::RuntimeEnv::Deserialize(environment->dump());
      }
    }
    const std::string node_flag = "--ray_node_ip_address=" + node_address;
    std::vector<std::string> flags{"mobula", node_flag};
    std::vector<char*> pointers;
    for (std::string& flag : flags) pointers.push_back(&flag[0]);
    ray::Init(config, static_cast<int>(pointers.size()), pointers.data());
  });
}

int put(RayBytes head, RayBytes value, RayId* id, RayFailure* failure) {
  return guarded(failure, [&] {
    auto buffer = std::make_shared<msgpack::sbuffer>(head.size + value.size);
    buffer->write(head.data, head.size);
    buffer->write(value.data, value.size);
    set_id(id, runtime().Put(std::move(buffer)));
  });
}

int get(const RayId* id, int timeout_ms, RayBuffer* value, RayFailure* failure) {
  return guarded(failure, [&] { *value = buffer_of(runtime().Get(text_of(*id), timeout_ms)); });
}

int get_all(const RayId* ids, std::size_t count, int timeout_ms, RayBuffer* values, RayFailure* failure) {
  return guarded(failure, [&] {
    std::vector<std::string> names;
    names.reserve(count);
    for (std::size_t i = 0; i < count; ++i) names.push_back(text_of(ids[i]));
    auto buffers = runtime().Get(names, timeout_ms);
    for (std::size_t i = 0; i < count; ++i) values[i] = buffer_of(std::move(buffers[i]));
  });
}

int wait(const RayId* ids, std::size_t count, std::size_t wanted, int timeout_ms, bool* ready, RayFailure* failure) {
  return guarded(failure, [&] {
    std::vector<std::string> names;
    names.reserve(count);
    for (std::size_t i = 0; i < count; ++i) names.push_back(text_of(ids[i]));
    const std::vector<bool> found = runtime().Wait(names, static_cast<int>(wanted), timeout_ms);
    for (std::size_t i = 0; i < count; ++i) ready[i] = i < found.size() && found[i];
  });
}

void release(void* owner) {
  delete static_cast<std::shared_ptr<msgpack::sbuffer>*>(owner);
}
void retain_id(const RayId* id) {
  runtime().AddLocalReference(text_of(*id));
}
void release_id(const RayId* id) {
  runtime().RemoveLocalReference(text_of(*id));
}

int call(const RayCall* call, RayId* result, RayFailure* failure) {
  return guarded(failure, [&] {
    auto arguments = arguments_of(*call);
    ray::internal::CallOptions options;
    fill_options(options, *call);
    set_id(result, runtime().Call(ray::internal::RemoteFunctionHolder(kTask), arguments, options));
  });
}

int create_actor(const RayCall* call, RayId* actor, RayFailure* failure) {
  return guarded(failure, [&] {
    auto arguments = arguments_of(*call);
    ray::internal::ActorCreationOptions options;
    fill_options(options, *call);
    options.name = call->actor_name != nullptr ? call->actor_name : "";
    options.max_restarts = call->max_restarts;
    set_id(actor, runtime().CreateActor(
                      ray::internal::RemoteFunctionHolder("", kMakeActor, "mobula", ray::internal::LangType::CPP),
                      arguments, options));
  });
}

int call_actor(const RayId* actor, const RayCall* call, RayId* result, RayFailure* failure) {
  return guarded(failure, [&] {
    auto arguments = arguments_of(*call);
    ray::internal::CallOptions options;
    fill_options(options, *call);
    set_id(result,
           runtime().CallActor(ray::internal::RemoteFunctionHolder(kCallActor), text_of(*actor), arguments, options));
  });
}

int kill_actor(const RayId* actor, RayFailure* failure) {
  return guarded(failure, [&] { runtime().KillActor(text_of(*actor), true); });
}

int actor_state(const RayId* actor, std::int64_t* num_restarts, bool* up, bool* dead, RayFailure* failure) {
  return guarded(failure, [&] {
    std::string request;
    append_bytes(request, 1, text_of(*actor));
    const Reply reply = GcsClient(head_address(), kAskMs).call("ActorInfoGcsService/GetActorInfo", request);
    if (reply.answer != Answer::ok) throw Failure(kRayUnavailable, reply.message);
    // ActorTableData.ActorState of gcs.proto.
    constexpr std::uint64_t kUp = 2;
    constexpr std::uint64_t kDead = 4;
    *num_restarts = 0;
    *up = false;
    *dead = false;
    for (const Field& field : read_message(reply.message)) {
      if (field.number != 2) continue;
      for (const Field& part : read_message(field.bytes)) {
        if (part.number == 6) *up = part.integer == kUp;
        if (part.number == 6) *dead = part.integer == kDead;
        if (part.number == 8) *num_restarts = static_cast<std::int64_t>(part.integer);
      }
    }
  });
}

int find_actor(const char* name, RayId* actor, RayFailure* failure) {
  return guarded(failure, [&] { set_id(actor, runtime().GetActorId(name, "")); });
}

RayBuffer buffer_of(const std::string& text) {
  auto bytes = std::make_shared<msgpack::sbuffer>(text.size());
  bytes->write(text.data(), text.size());
  return buffer_of(std::move(bytes));
}

void release_actor_reference(const RayId* actor) {
  release_actor(text_of(*actor));
}

int describe_object_of(const RayId* id, RayBuffer* description, RayFailure* failure) {
  return guarded(failure, [&] { *description = buffer_of(describe_object(text_of(*id))); });
}

int describe_actor_of(const RayId* actor, RayBuffer* description, RayId* counted, RayFailure* failure) {
  return guarded(failure, [&] {
    std::string object;
    *description = buffer_of(describe_actor(text_of(*actor), &object));
    set_id(counted, object);
  });
}

int adopt_object_in(const RayId* id, const RayId* outer, RayBytes description, RayFailure* failure) {
  return guarded(failure,
                 [&] { adopt_object(text_of(*id), text_of(*outer), std::string(description.data, description.size)); });
}

int adopt_actor_in(const RayId* outer, RayBytes description, RayId* actor, RayFailure* failure) {
  return guarded(failure,
                 [&] { set_id(actor, adopt_actor(text_of(*outer), std::string(description.data, description.size))); });
}

RayBytes own_address_bytes() {
  // Another one with each connection of the process.
  thread_local std::string address;
  try {
    address = own_address();
  } catch (const std::exception&) {
    address.clear();
  }
  return {address.data(), address.size()};
}

int note_contents_of(const RayId* outer, const RayId* inner, std::size_t count, RayBytes owner, RayFailure* failure) {
  return guarded(failure, [&] {
    std::vector<std::string> ids;
    ids.reserve(count);
    for (std::size_t i = 0; i < count; ++i) ids.push_back(text_of(inner[i]));
    if (outer == nullptr) {
      note_result_contents(ids);
    } else {
      note_contents(text_of(*outer), ids, std::string(owner.data, owner.size));
    }
  });
}

int create_placement_group(const char* name, int strategy, const RayResource* const* bundles, const std::size_t* sizes,
                           std::size_t num_bundles, RayId* id, RayFailure* failure) {
  return guarded(failure, [&] {
    ray::PlacementGroupCreationOptions options;
    options.name = name;
    options.strategy = static_cast<ray::PlacementStrategy>(strategy);
    for (std::size_t i = 0; i < num_bundles; ++i) {
      options.bundles.emplace_back();
      for (std::size_t j = 0; j < sizes[i]; ++j) options.bundles.back()[bundles[i][j].name] = bundles[i][j].amount;
    }
    set_id(id, runtime().CreatePlacementGroup(options).GetID());
  });
}

int wait_placement_group(const RayId* id, int timeout_s, bool* ready, RayFailure* failure) {
  return guarded(failure, [&] { *ready = runtime().WaitPlacementGroupReady(text_of(*id), timeout_s); });
}

int remove_placement_group(const RayId* id, RayFailure* failure) {
  return guarded(failure, [&] { runtime().RemovePlacementGroup(text_of(*id)); });
}

int nodes(RayBuffer* text, RayFailure* failure) {
  return guarded(failure, [&] {
    auto out = std::make_shared<msgpack::sbuffer>();
    const auto line = [&](const std::string& content) {
      out->write(content.data(), content.size());
      out->write("\n", 1);
    };
    for (const NodeInfo& node : GcsClient(head_address(), kAskMs).nodes()) {
      line(node.id + " " + node.address + (node.alive ? " alive" : " dead"));
      for (const auto& [name, amount] : node.total) {
        const auto available = node.available.find(name);
        line("+" + name + " " + std::to_string(amount) + " " +
             std::to_string(available == node.available.end() ? 0.0 : available->second));
      }
      for (const auto& [key, value] : node.labels) line("=" + key + " " + value);
    }
    *text = buffer_of(std::move(out));
  });
}

const char* ray_library() {
  static const std::string path = [] {
    Dl_info info{};
    const auto address = static_cast<void (*)()>(&ray::Shutdown);
    return std::string(dladdr(reinterpret_cast<const void*>(address), &info) != 0 ? info.dli_fname : "");
  }();
  return path.c_str();
}

const RayBridge kBridge = {
    MOBULA_RAY_VERSION,
    &ray_library,
    &probe,
    &connect,
    &ray::Shutdown,
    &put,
    &get,
    &get_all,
    &wait,
    &release,
    &retain_id,
    &release_id,
    &call,
    &create_actor,
    &call_actor,
    &kill_actor,
    &actor_state,
    &find_actor,
    &release_actor_reference,
    &describe_object_of,
    &describe_actor_of,
    &adopt_object_in,
    &adopt_actor_in,
    &own_address_bytes,
    &note_contents_of,
    &create_placement_group,
    &wait_placement_group,
    &remove_placement_group,
    &nodes,
};

const RayBridge* bridge() {
  return &kBridge;
}

}  // namespace
}  // namespace mobula_ray

extern "C" const RayBridge* mobula_ray_bridge() {
  return mobula_ray::bridge();
}
