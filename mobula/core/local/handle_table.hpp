/// What the numbers of handles stand for, in the main process: objects and actors, kept for as long as somebody who got
/// the number may use it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "mobula/core/handles.hpp"
#include "mobula/core/object.hpp"

namespace mobula {

/// An object whose type this process has not been told: bytes that a worker has put.
class UntypedObject final : public Object {
 public:
  /// Makes a ready object with one reference.
  UntypedObject(Engine* engine, std::shared_ptr<const StoredBytes> stored);
  void encode_value(WireWriter& out) override;
  const char* type_name() const noexcept override { return ""; }

 private:
  ~UntypedObject() override = default;
  void destroy() noexcept override { delete this; }
  void* address() noexcept override { return nullptr; }
  void decode_value(WireReader&) override {}
};

/// Thread-safe.
class HandleTable final : public HandleReader, public std::enable_shared_from_this<HandleTable> {
 public:
  explicit HandleTable(Engine* engine) : engine_(engine) {}
  HandleTable(const HandleTable&) = delete;
  HandleTable& operator=(const HandleTable&) = delete;
  ~HandleTable() override;

  /// Counts one more holder; returns the number.
  std::uint64_t hold(Object& object);
  std::uint64_t hold(ActorCore& actor);
  /// Counts one more holder of a number. Returns false where it stands for nothing.
  bool hold(std::uint64_t id);
  /// Gives an object, or an actor, a number that a worker has chosen, with one holder.
  void name(std::uint64_t id, Object& object);
  void name(std::uint64_t id, ActorCore& actor);
  void release(std::uint64_t id, std::uint32_t count = 1) noexcept;
  /// Returns the object with one reference, or null.
  Object* find(std::uint64_t id);

  Object* object(std::uint64_t id, const char* type, Object* (*make)(Engine* engine)) override;
  ActorCore* actor(std::uint64_t id) override;
  std::size_t size() const;

 private:
  struct Entry {
    Object* object = nullptr;
    Object* typed = nullptr;  ///< of an UntypedObject: the same with its type
    ActorCore* actor = nullptr;
    std::uint64_t holders = 0;
  };
  std::uint64_t hold_new(const void* what, Entry entry);
  static void drop(const Entry& entry) noexcept;

  Engine* engine_;
  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, Entry> entries_;
  std::unordered_map<const void*, std::uint64_t> ids_;
  std::uint64_t next_id_ = 1;
};

/// Numbers the handles in a value, and holds them.
class HeldHandles final : public HandleWriter {
 public:
  explicit HeldHandles(std::shared_ptr<HandleTable> table) : table_(std::move(table)) {}
  HeldHandles(const HeldHandles&) = delete;
  HeldHandles& operator=(const HeldHandles&) = delete;
  ~HeldHandles() override;

  std::uint64_t add(Object& object) override;
  std::uint64_t add(ActorCore& actor) override;
  /// Holds a number that came from a worker. Throws Error(corrupt) where it stands for nothing.
  void add(std::uint64_t id);
  /// Takes over a holder of a number that was counted before.
  void adopt(std::uint64_t id) { ids_.push_back(id); }
  bool empty() const noexcept { return ids_.empty(); }

 private:
  std::shared_ptr<HandleTable> table_;
  std::vector<std::uint64_t> ids_;
};

}  // namespace mobula
