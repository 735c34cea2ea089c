/// What worker processes and the main process tell one another over a worker's socket, beside the calls and results that
/// go through shared memory: handles that come and go, tasks and actors that a worker asks for, values that it waits for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/core/options.hpp"
#include "mobula/core/wire.hpp"

namespace mobula {

/// Kinds of frames from a worker.
enum class FromWorker : std::uint8_t {
  hold,          ///< id: it has a handle now
  release,       ///< id: it has one fewer
  put,           ///< PutMessage
  submit,        ///< CallMessage: a task
  create_actor,  ///< id, ActorOptions
  call,          ///< CallMessage: on an actor
  want,          ///< id: answered by ToWorker::pending or value, and by value at the end
  cancel,        ///< id, forced (1 byte)
  kill,          ///< id of an actor
  pin,           ///< request, id: bring its bytes into memory; answered by ToWorker::room
  unpin,         ///< id
  room,          ///< request, bytes: answered by ToWorker::room
  took,          ///< offset: it has the room it asked for where the main process finds it
  find_actor,    ///< request, name, type: answered by ToWorker::actor
  resources,     ///< request: answered by ToWorker::resources
  blocked,       ///< its task waits for others
  unblocked,     ///< and goes on
  awaits,        ///< id: its call can't end before that is ready; answered only where it never would be, by an error
};

/// Kinds of frames to a worker.
enum class ToWorker : std::uint8_t {
  start,      ///< TaskWorkerStart, the first of all
  pending,    ///< id
  value,      ///< id, ValueForm, what it says
  room,       ///< request, offset; 0: an encoded error follows
  actor,      ///< request, id; 0: an encoded error follows
  resources,  ///< request, totals, what is free
};

enum class ValueForm : std::uint8_t {
  inline_bytes,  ///< text
  stored,        ///< offset, size; pinned until FromWorker::unpin or release
  error,         ///< text: encode_error()
};

/// Numbers that a worker chooses are told from those of the main process, and of other workers, by its serial number.
constexpr std::uint64_t first_id_of_worker(std::uint32_t serial) {
  return std::uint64_t{serial} << 36;
}

/// Bit of a number that a call reports as kept: the bytes of that object are still looked at.
inline constexpr std::uint64_t kPinnedHandle = std::uint64_t{1} << 63;

/// A value that a worker has put.
struct PutMessage {
  std::uint64_t id = 0;
  std::uint64_t offset = 0;  ///< 0: the bytes are here
  std::uint64_t size = 0;
  std::string_view bytes;
  std::vector<std::uint64_t> handles;
};
/// A call that a worker asks for.
struct CallMessage {
  struct Reference {
    std::uint64_t position;
    std::uint64_t id;
  };
  std::uint64_t id = 0;     ///< of the result
  std::uint64_t actor = 0;  ///< 0: a task
  std::uint64_t lane = 0;
  std::string key;     ///< of the function
  std::string caller;  ///< who asks, and by whom that was called
  bool has_options = false;
  TaskOptions options;
  std::string bytes;
  std::vector<Reference> references;
  std::vector<std::uint64_t> handles;
};

void encode(WireWriter& out, const PutMessage& message);
void encode(WireWriter& out, const CallMessage& message);
void encode(WireWriter& out, const ActorOptions& options);
PutMessage decode_put(WireReader& in);
CallMessage decode_call(WireReader& in);
ActorOptions decode_actor_options(WireReader& in);

}  // namespace mobula
