// The line between Mobula (C++20, today's standard library) and the plug-in that speaks to Ray (C++17, with the old
// std::string that Ray's library is built with). Only C types cross it. Included on both sides.
#pragma once

#include <stddef.h>
#include <stdint.h>

extern "C" {

/// Bytes that belong to somebody else.
struct RayBytes {
  const char* data;
  size_t size;
};

/// An object's, actor's or placement group's identity.
struct RayId {
  char bytes[28];
  uint32_t size;
};

/// An object's bytes as Ray delivered them; released with RayBridge::release.
struct RayBuffer {
  const char* data;
  size_t size;
  void* owner;
};

enum RayFailureKind {
  kRayNone = 0,
  kRayTimeout,      ///< the time given was up
  kRayUnavailable,  ///< no cluster answers at the address
  kRayRefused,      ///< the cluster answers, but wants another token or Ray version
  kRayWorkerDied,
  kRayActorDied,
  kRayObjectLost,
  kRayCancelled,
  kRayOther,
};

/// What went wrong. `message` is cut where it is longer.
struct RayFailure {
  int kind;
  char message[4096];
};

/// What the first eight bytes of an object mean. An object that starts with none of these is Ray's own word for an error
/// that its C++ API hands over as if it were a value.
enum RayFrame : uint64_t {
  kRayValue = 0x6d6f62756c610001,    ///< an encoded value follows
  kRayError = 0x6d6f62756c610002,    ///< an encoded error follows
  kRayMessage = 0x6d6f62756c610003,  ///< the plug-in could not run the call: its message follows
  kRayHandles = 0x6d6f62756c610004,  ///< a table of handles with its size (uint32) before it, and an encoded value
};

struct RayResource {
  const char* name;
  double amount;
};

/// A call of a task, of an actor's constructor, or of an actor.
struct RayCall {
  const char* name;             ///< shown by Ray's tools
  RayBytes header;              ///< what the worker side needs to know, and the small arguments
  const RayId* references;      ///< objects that Ray brings to the worker before the call
  size_t num_references;
  const RayResource* resources;
  size_t num_resources;
  const RayId* placement_group;  ///< null: none
  int bundle;                    ///< -1: any
  const char* actor_name;        ///< constructors only; null: none
  int max_restarts;              ///< constructors only
};

struct RayConnect {
  const char* address;  ///< host:port of the cluster's head
  const char* plugin;   ///< path of the plug-in, where Ray's workers find it too
  const char* job_config;  ///< what Ray tells the program of a submitted job (JSON), for its workers; null: none
  int timeout_ms;
};

/// Runs in a worker: makes the call that the header describes, with the objects' bytes, which it takes over. Sets
/// `result` to memory that the library keeps until the next call on this thread. `actor` is kept between the calls of one
/// actor. Results, and objects that are put, start with eight bytes that say what follows: see RayFrame.
typedef void (*RayExecute)(const struct RayBridge* bridge, RayBytes header, const RayBuffer* objects, size_t num_objects,
                           void** actor, RayBytes* result);

/// What the plug-in does. Functions that return int return a RayFailureKind and fill in `failure`.
struct RayBridge {
  const char* ray_version;
  /// Returns the path of Ray's own library; beside it lies the rest of Ray.
  const char* (*ray_library)();

  /// Asks the cluster's head whether it is there, takes our token and runs our version. Never hangs.
  int (*probe)(const char* address, int timeout_ms, RayFailure* failure);
  int (*connect)(const RayConnect* options, RayFailure* failure);
  void (*disconnect)();

  /// Puts `head` and `value`, one behind the other, as one object.
  int (*put)(RayBytes head, RayBytes value, RayId* id, RayFailure* failure);
  int (*get)(const RayId* id, int timeout_ms, RayBuffer* value, RayFailure* failure);
  /// Gets all of them, in one go. Where one fails, none is delivered.
  int (*get_all)(const RayId* ids, size_t count, int timeout_ms, RayBuffer* values, RayFailure* failure);
  int (*wait)(const RayId* ids, size_t count, size_t wanted, int timeout_ms, bool* ready, RayFailure* failure);
  void (*release)(void* owner);
  /// Counts the references this process has to an object. IDs that put and the calls return hold one.
  void (*retain_id)(const RayId* id);
  void (*release_id)(const RayId* id);

  int (*call)(const RayCall* call, RayId* result, RayFailure* failure);
  int (*create_actor)(const RayCall* call, RayId* actor, RayFailure* failure);
  int (*call_actor)(const RayId* actor, const RayCall* call, RayId* result, RayFailure* failure);
  int (*kill_actor)(const RayId* actor, RayFailure* failure);
  /// Tells how often an actor has been made anew, whether it takes calls, and whether it is gone for good.
  int (*actor_state)(const RayId* actor, int64_t* num_restarts, bool* up, bool* dead, RayFailure* failure);
  int (*find_actor)(const char* name, RayId* actor, RayFailure* failure);
  /// Gives back the reference that create_actor and adopt_actor count; Ray ends an actor after its calls when there is
  /// none left.
  void (*release_actor)(const RayId* actor);

  /// Handles inside values: what another process needs to use an object or actor. `counted`: what stands for the actor
  /// among the contents of an object.
  int (*describe_object)(const RayId* id, RayBuffer* description, RayFailure* failure);
  int (*describe_actor)(const RayId* actor, RayBuffer* description, RayId* counted, RayFailure* failure);
  /// Takes over what came inside `outer`, and counts one reference to it.
  int (*adopt_object)(const RayId* id, const RayId* outer, RayBytes description, RayFailure* failure);
  int (*adopt_actor)(const RayId* outer, RayBytes description, RayId* actor, RayFailure* failure);
  /// Returns this process's address among Ray's, once it is connected, until the thread's next call; empty where it can't
  /// be told.
  RayBytes (*own_address)();
  /// Tells Ray what an object holds. `outer` null: the result that this thread's task returns; `owner`: of the object.
  int (*note_contents)(const RayId* outer, const RayId* inner, size_t count, RayBytes owner, RayFailure* failure);

  int (*create_placement_group)(const char* name, int strategy, const RayResource* const* bundles, const size_t* sizes,
                                size_t num_bundles, RayId* id, RayFailure* failure);
  int (*wait_placement_group)(const RayId* id, int timeout_s, bool* ready, RayFailure* failure);
  int (*remove_placement_group)(const RayId* id, RayFailure* failure);

  /// Describes the cluster's nodes: lines "id address state", each followed by lines "+name total available" of its
  /// resources and "=key value" of its labels.
  int (*nodes)(RayBuffer* text, RayFailure* failure);
};

/// Returns the plug-in's functions; the one symbol that is looked up in it.
typedef const struct RayBridge* (*RayBridgeEntry)();
}

/// Names that both sides look up.
#define MOBULA_RAY_BRIDGE_SYMBOL "mobula_ray_bridge"
#define MOBULA_RAY_EXECUTE_SYMBOL "mobula_ray_execute"
