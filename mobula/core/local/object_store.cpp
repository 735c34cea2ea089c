#include "mobula/core/local/object_store.hpp"

#include <fmt/format.h>

#include "mobula/base/size.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/wire.hpp"

namespace mobula {

std::shared_ptr<ObjectStore> ObjectStore::make(std::uint64_t memory, const std::filesystem::path& spill_dir,
                                               std::uint64_t spill_quota) {
  return std::shared_ptr<ObjectStore>(new ObjectStore(memory, spill_dir, spill_quota));
}

ObjectStore::ObjectStore(std::uint64_t memory, const std::filesystem::path& spill_dir, std::uint64_t spill_quota)
    : arena_(memory) {
  if (!spill_dir.empty()) spill_.emplace(spill_dir, spill_quota);
}

std::shared_ptr<const StoredObject> ObjectStore::encode(const void* value, EncodeFunction encode, std::size_t size,
                                                        HandleWriter& handles, std::shared_ptr<const void> keeper) {
  const std::uint64_t offset = allocate(size);
  try {
    WireWriter out(arena_.at(offset), size);
    out.set_handles(&handles);
    encode(value, out);
    if (out.size() != size) {
      throw Error(ErrorCode::internal, fmt::format("a value announced {} bytes and wrote {}", size, out.size()),
                  "its Codec must write the same bytes each time, and nobody may change it meanwhile");
    }
    return adopt(offset, size, size, std::move(keeper));
  } catch (...) {
    free(offset, size);
    throw;
  }
}

std::shared_ptr<const StoredObject> ObjectStore::adopt(std::uint64_t offset, std::size_t size, std::size_t reserved,
                                                       std::shared_ptr<const void> keeper) {
  std::shared_ptr<StoredObject> object(new StoredObject(shared_from_this(), offset, size, reserved, std::move(keeper)));
  std::lock_guard lock(mutex_);
  object->unpinned_at_ = unpinned_.insert(unpinned_.end(), object.get());
  return object;
}

std::uint64_t ObjectStore::allocate(std::uint64_t bytes) {
  if (const std::uint64_t offset = arena_.try_allocate(bytes); offset != 0) return offset;
  std::lock_guard lock(mutex_);
  return allocate_locked(bytes);
}

void ObjectStore::free(std::uint64_t offset, std::uint64_t bytes) {
  arena_.free(offset, bytes);
}

std::uint64_t ObjectStore::allocate_locked(std::uint64_t bytes) {
  for (;;) {
    if (const std::uint64_t offset = arena_.try_allocate(bytes); offset != 0) return offset;
    // What can never fit drives nobody out.
    if (SharedArena::footprint(bytes) > arena_.budget() || !spill_oldest()) throw_full(bytes);
  }
}

/// Takes the least recently used object out of memory, of those that fit on the disk; false where there is none.
bool ObjectStore::spill_oldest() {
  if (!spill_) return false;
  for (auto at = unpinned_.begin(); at != unpinned_.end(); ++at) {
    const StoredObject& object = **at;
    if (object.on_disk_) {
      copied_.erase(object.copied_at_);
    } else {
      do {
        object.on_disk_ = spill_->write({arena_.at(object.offset_), object.size_});
      } while (!object.on_disk_ && drop_oldest_copy());
      if (!object.on_disk_) continue;
      object.checksum_ = SpillFile::checksum({arena_.at(object.offset_), object.size_});
      ++num_spills_;
    }
    unpinned_.erase(at);
    arena_.free(object.offset_, object.reserved_);
    object.offset_ = 0;
    return true;
  }
  return false;
}

/// Gives back the disk space of an object that is in memory, too.
bool ObjectStore::drop_oldest_copy() {
  if (copied_.empty()) return false;
  const StoredObject& object = *copied_.front();
  copied_.pop_front();
  spill_->free(*object.on_disk_, object.size_);
  object.on_disk_.reset();
  return true;
}

void ObjectStore::throw_full(std::uint64_t bytes) const {
  std::string message =
      fmt::format("an object of {} ({} bytes) does not fit: {} of the {} for objects are in use", format_size(bytes),
                  bytes, format_size(arena_.bytes_in_use()), format_size(arena_.budget()));
  if (pinned_bytes_ != 0)
    message += fmt::format(", {} of them held by views and running tasks", format_size(pinned_bytes_));
  std::string hint = "drop Refs you no longer need, raise --memory (MOBULA_MEMORY)";
  if (!spill_) {
    hint += ", or let objects go to disk with --spill-dir DIR (MOBULA_SPILL_DIR)";
  } else if (SharedArena::footprint(bytes) <= arena_.budget() && !unpinned_.empty()) {
    message += fmt::format("; of the {} for spilled objects in '{}', {} are in use", format_size(spill_->quota()),
                           spill_->folder().string(), format_size(spill_->used()));
    hint += ", or raise --spill-quota (MOBULA_SPILL_QUOTA)";
  }
  throw OutOfMemoryError(std::move(message), std::move(hint));
}

std::uint64_t ObjectStore::pin(const StoredObject& object) {
  std::lock_guard lock(mutex_);
  if (object.offset_ == 0) {
    restore(object);
  } else if (object.pins_ == 0) {
    unpinned_.erase(object.unpinned_at_);
  }
  if (object.pins_++ == 0) pinned_bytes_ += SharedArena::footprint(object.reserved_);
  return object.offset_;
}

void ObjectStore::restore(const StoredObject& object) {
  std::uint64_t offset = arena_.try_allocate(object.size_);
  while (offset == 0 && spill_oldest()) offset = arena_.try_allocate(object.size_);
  // Where the disk is full it changes places with others: for a moment there is more in memory than there may be.
  const bool exchange = offset == 0;
  if (exchange) offset = arena_.try_allocate(object.size_, true);
  if (offset == 0) throw_full(object.size_);
  try {
    spill_->read(*object.on_disk_, arena_.at(offset), object.size_);
    if (SpillFile::checksum({arena_.at(offset), object.size_}) != object.checksum_) {
      throw Error(ErrorCode::corrupt,
                  fmt::format("its bytes in '{}' are not those that were written", spill_->folder().string()));
    }
  } catch (const Error& error) {
    arena_.free(offset, object.size_);
    throw ObjectLostError(fmt::format("an object of {} is lost: {}", format_size(object.size_), error.message()),
                          "call what made it again, and give --spill-dir a folder on a disk that is sound");
  }
  if (exchange) {
    spill_->free(*object.on_disk_, object.size_);
    object.on_disk_.reset();
    try {
      while (arena_.bytes_in_use() > arena_.budget() && spill_oldest()) {
      }
      // Where nobody can leave it goes back.
      if (arena_.bytes_in_use() > arena_.budget()) object.on_disk_ = spill_->write({arena_.at(offset), object.size_});
    } catch (const Error&) {
      // The disk refuses even what fitted before: memory keeps it, over the budget.
    }
    if (object.on_disk_) {
      arena_.free(offset, object.size_);
      throw_full(object.size_);
    }
  } else {
    // The copy on disk stays while there is room: going there again then costs nothing.
    object.copied_at_ = copied_.insert(copied_.end(), &object);
  }
  ++num_restores_;
  object.offset_ = offset;
  object.reserved_ = object.size_;
}

void ObjectStore::unpin(const StoredObject& object) noexcept {
  std::lock_guard lock(mutex_);
  if (--object.pins_ != 0) return;
  pinned_bytes_ -= SharedArena::footprint(object.reserved_);
  object.unpinned_at_ = unpinned_.insert(unpinned_.end(), &object);
}

void ObjectStore::remove(const StoredObject& object) noexcept {
  std::lock_guard lock(mutex_);
  if (object.offset_ != 0) {
    unpinned_.erase(object.unpinned_at_);  // who pins it keeps it
    if (object.on_disk_) copied_.erase(object.copied_at_);
    arena_.free(object.offset_, object.reserved_);
  }
  if (object.on_disk_) spill_->free(*object.on_disk_, object.size_);
}

ObjectStore::Usage ObjectStore::usage() const {
  std::lock_guard lock(mutex_);
  return {.in_memory = arena_.bytes_in_use(),
          .budget = arena_.budget(),
          .pinned = pinned_bytes_,
          .on_disk = spill_ ? spill_->used() : 0,
          .num_spills = num_spills_,
          .num_restores = num_restores_};
}

PinnedBytes StoredObject::pin() const {
  const std::uint64_t offset = store_->pin(*this);
  const char* at = store_->arena().at(offset);
  std::shared_ptr<const void> keeper(at, [self = shared_from_this()](const void*) { self->store_->unpin(*self); });
  return {std::string_view(at, size_), std::move(keeper)};
}

std::uint64_t StoredObject::offset_of(const ObjectStore& store, const PinnedBytes& pinned) {
  return static_cast<std::uint64_t>(pinned.bytes().data() - const_cast<ObjectStore&>(store).arena().at(0));
}

}  // namespace mobula
