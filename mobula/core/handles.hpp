/// How Refs and Actors cross a process boundary: as numbers. The program's main process keeps what a number stands for;
/// every process that holds such a handle counts there.
#pragma once

#include <cstdint>
#include <memory>

namespace mobula {

class ActorCore;
class Engine;
class Object;
class WireReader;

/// Numbers the handles that a value holds, while it is encoded; what writes the value keeps them until they have arrived.
class HandleWriter {
 public:
  virtual ~HandleWriter() = default;
  virtual std::uint64_t add(Object& object) = 0;
  virtual std::uint64_t add(ActorCore& actor) = 0;
};

/// Finds in this process what numbers stand for. Thread-safe.
class HandleReader {
 public:
  virtual ~HandleReader() = default;
  /// Returns the object with one reference; where this process does not have it, makes it with `make`, to be completed
  /// when its value is asked for. `type` is the type of its value. Throws Error(corrupt) for an unknown number and for
  /// one that stands for something else.
  virtual Object* object(std::uint64_t id, const char* type, Object* (*make)(Engine* engine)) = 0;
  /// Returns the actor with one reference. Throws as object() does.
  virtual ActorCore* actor(std::uint64_t id) = 0;
};

/// Returns who finds handles in this process. Throws Error(unsupported) where there is nobody: handles mean something only
/// in values that tasks, actors and objects of a runtime with worker processes hold.
std::shared_ptr<HandleReader> handle_reader();
/// The same for the handles in what is read.
std::shared_ptr<HandleReader> handle_reader(const WireReader& in);
/// Sets it.
void set_handle_reader(std::shared_ptr<HandleReader> reader);
[[noreturn]] void throw_handle_leaves_process();

}  // namespace mobula
