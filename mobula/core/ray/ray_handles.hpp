/// Refs and Actors inside values on their way through Ray: as numbers into a table that travels with the value, of what
/// another process needs to use each. Ray counts who holds what they stand for.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/core/handles.hpp"
#include "mobula/core/options.hpp"
#include "mobula/core/ray/bridge.h"
#include "mobula/core/ray/ray_connection.hpp"
#include "mobula/core/wire.hpp"

namespace mobula {

/// Collects the handles in a value while it is encoded, and keeps what they stand for.
class RayHandleWriter final : public HandleWriter {
 public:
  RayHandleWriter() = default;
  RayHandleWriter(const RayHandleWriter&) = delete;
  RayHandleWriter& operator=(const RayHandleWriter&) = delete;
  ~RayHandleWriter() override;

  std::uint64_t add(Object& object) override;
  std::uint64_t add(ActorCore& actor) override;
  bool empty() const noexcept { return held_.empty(); }
  /// Returns what stands before the value's bytes in a frame: its mark and, where there are handles, their table.
  std::string head() const;
  /// Tells Ray that `outer`, an object of the process at `owner`, holds the handles; null: the result that this thread's
  /// task returns. Does nothing where there are none.
  void note_contents(const RayBridge& bridge, const RayId* outer, std::string_view owner) const;

 private:
  std::vector<Object*> objects_;
  std::vector<ActorCore*> actors_;
  std::vector<RayId> held_;
  WireWriter table_;
};

/// The handles of one frame. Keeps nothing: who decodes counts.
class RayHandleReader final : public HandleReader {
 public:
  /// `outer`: the object that the frame is of. Throws Error(corrupt).
  RayHandleReader(std::shared_ptr<RayConnection> connection, const RayId& outer, std::string_view table);

  Object* object(std::uint64_t id, const char* type, Object* (*make)(Engine* engine)) override;
  ActorCore* actor(std::uint64_t id) override;

 private:
  struct Entry {
    bool is_actor = false;
    RayId id{};
    std::string description;
    ActorOptions options;  ///< of an actor: what its handles go by
    std::string title;
  };
  const Entry& entry(std::uint64_t id, bool is_actor) const;

  std::shared_ptr<RayConnection> connection_;
  RayId outer_;
  std::vector<Entry> entries_;
};

}  // namespace mobula
