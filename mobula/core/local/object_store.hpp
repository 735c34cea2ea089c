/// The driver's stored objects: encoded values in shared memory, within a budget; those that were not used for longest go
/// to disk when others need the room, and come back when they are used.
#pragma once

#include <cstdint>
#include <filesystem>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "mobula/core/engine.hpp"
#include "mobula/core/handles.hpp"
#include "mobula/core/local/shared_arena.hpp"
#include "mobula/core/local/spill_file.hpp"
#include "mobula/core/object.hpp"

namespace mobula {

class StoredObject;

/// Thread-safe. Lives as long as its last object.
class ObjectStore : public std::enable_shared_from_this<ObjectStore> {
 public:
  /// `memory`: the budget in bytes. Without a `spill_dir` nothing is spilled; `spill_quota` as SpillFile takes it.
  /// Throws Error(io) where the folder can't be used.
  static std::shared_ptr<ObjectStore> make(std::uint64_t memory, const std::filesystem::path& spill_dir,
                                           std::uint64_t spill_quota);
  ObjectStore(const ObjectStore&) = delete;
  ObjectStore& operator=(const ObjectStore&) = delete;

  SharedArena& arena() noexcept { return arena_; }
  /// Encodes a value of `size` bytes straight into shared memory. `handles` numbers the handles in it; `keeper` keeps
  /// what they stand for, until the object's end.
  std::shared_ptr<const StoredObject> encode(const void* value, EncodeFunction encode, std::size_t size,
                                             HandleWriter& handles, std::shared_ptr<const void> keeper);
  /// Takes over `size` bytes that a worker has written at the start of a block for `reserved` bytes.
  std::shared_ptr<const StoredObject> adopt(std::uint64_t offset, std::size_t size, std::size_t reserved,
                                            std::shared_ptr<const void> keeper);
  /// Sets a block of the arena aside, spilling what must give way. Throws OutOfMemoryError that says what takes the room.
  std::uint64_t allocate(std::uint64_t bytes);
  void free(std::uint64_t offset, std::uint64_t bytes);

  struct Usage {
    std::uint64_t in_memory = 0;     ///< bytes of the budget in use
    std::uint64_t budget = 0;        ///< bytes
    std::uint64_t pinned = 0;        ///< bytes of those that views and running tasks hold in memory
    std::uint64_t on_disk = 0;       ///< bytes of spilled objects
    std::uint64_t num_spills = 0;    ///< times an object was written to disk
    std::uint64_t num_restores = 0;  ///< times one was read back
  };
  Usage usage() const;

 private:
  friend class StoredObject;
  ObjectStore(std::uint64_t memory, const std::filesystem::path& spill_dir, std::uint64_t spill_quota);
  std::uint64_t allocate_locked(std::uint64_t bytes);
  bool spill_oldest();
  bool drop_oldest_copy();
  void restore(const StoredObject& object);
  [[noreturn]] void throw_full(std::uint64_t bytes) const;
  std::uint64_t pin(const StoredObject& object);
  void unpin(const StoredObject& object) noexcept;
  void remove(const StoredObject& object) noexcept;

  SharedArena arena_;
  mutable std::mutex mutex_;
  std::optional<SpillFile> spill_;
  std::list<const StoredObject*> unpinned_;  ///< in memory, used least recently first
  std::list<const StoredObject*> copied_;    ///< in memory, and on disk still from an earlier stay there
  std::uint64_t pinned_bytes_ = 0;
  std::uint64_t num_spills_ = 0;
  std::uint64_t num_restores_ = 0;
};

/// One value's bytes in a store, given back at the end.
class StoredObject final : public StoredBytes, public std::enable_shared_from_this<StoredObject> {
 public:
  ~StoredObject() override { store_->remove(*this); }
  PinnedBytes pin() const override;
  std::size_t size() const noexcept override { return size_; }
  /// Returns where pinned bytes are in the arena.
  static std::uint64_t offset_of(const ObjectStore& store, const PinnedBytes& pinned);

 private:
  friend class ObjectStore;
  StoredObject(std::shared_ptr<ObjectStore> store, std::uint64_t offset, std::size_t size, std::size_t reserved,
               std::shared_ptr<const void> keeper)
      : store_(std::move(store)), size_(size), keeper_(std::move(keeper)), offset_(offset), reserved_(reserved) {}

  const std::shared_ptr<ObjectStore> store_;
  const std::size_t size_;
  const std::shared_ptr<const void> keeper_;
  // Under the store's mutex.
  mutable std::uint64_t offset_;  ///< in the arena; 0: only on disk
  mutable std::size_t reserved_;  ///< bytes the block was asked for with
  mutable std::uint32_t pins_ = 0;
  mutable std::optional<std::uint64_t> on_disk_;
  mutable std::uint64_t checksum_ = 0;  ///< of the bytes, once they were on disk
  mutable std::list<const StoredObject*>::iterator unpinned_at_;
  mutable std::list<const StoredObject*>::iterator copied_at_;
};

}  // namespace mobula
