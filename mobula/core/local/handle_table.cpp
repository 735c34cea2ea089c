#include "mobula/core/local/handle_table.hpp"

#include <fmt/format.h>

#include <cstring>

#include "mobula/base/error.hpp"
#include "mobula/core/actor_core.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/wire.hpp"

namespace mobula {
namespace {

[[noreturn]] void throw_unknown(const char* what, std::uint64_t id) {
  throw Error(ErrorCode::corrupt, fmt::format("handle {:#x} stands for no {} any more", id, what),
              "handles travel in arguments, results and objects; bytes that were kept elsewhere don't count");
}

}  // namespace

UntypedObject::UntypedObject(Engine* engine, std::shared_ptr<const StoredBytes> stored) : Object(engine, 1) {
  take_stored(std::move(stored));
  complete();
}

void UntypedObject::encode_value(WireWriter& out) {
  const PinnedBytes pinned = stored()->pin();
  out.raw(pinned.bytes().data(), pinned.bytes().size());
}

HandleTable::~HandleTable() {
  for (const auto& [id, entry] : entries_) drop(entry);
}

void HandleTable::drop(const Entry& entry) noexcept {
  if (entry.object != nullptr) entry.object->release();
  if (entry.typed != nullptr) entry.typed->release();
  if (entry.actor != nullptr) entry.actor->release();
}

std::uint64_t HandleTable::hold_new(const void* what, Entry entry) {
  const std::uint64_t id = next_id_++;
  entry.holders = 1;
  entries_.emplace(id, entry);
  ids_.emplace(what, id);
  return id;
}

std::uint64_t HandleTable::hold(Object& object) {
  std::lock_guard lock(mutex_);
  if (const auto found = ids_.find(&object); found != ids_.end()) {
    ++entries_.at(found->second).holders;
    return found->second;
  }
  object.retain();
  return hold_new(&object, {.object = &object});
}

std::uint64_t HandleTable::hold(ActorCore& actor) {
  std::lock_guard lock(mutex_);
  if (const auto found = ids_.find(&actor); found != ids_.end()) {
    ++entries_.at(found->second).holders;
    return found->second;
  }
  actor.retain();
  return hold_new(&actor, {.actor = &actor});
}

bool HandleTable::hold(std::uint64_t id) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) return false;
  ++found->second.holders;
  return true;
}

void HandleTable::name(std::uint64_t id, Object& object) {
  std::lock_guard lock(mutex_);
  if (!entries_.try_emplace(id, Entry{.object = &object, .holders = 1}).second) return;
  object.retain();
  ids_.emplace(&object, id);
}

void HandleTable::name(std::uint64_t id, ActorCore& actor) {
  std::lock_guard lock(mutex_);
  if (!entries_.try_emplace(id, Entry{.actor = &actor, .holders = 1}).second) return;
  actor.retain();
  ids_.emplace(&actor, id);
}

void HandleTable::release(std::uint64_t id, std::uint32_t count) noexcept {
  Entry entry;
  {
    std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end()) return;
    found->second.holders -= std::min<std::uint64_t>(count, found->second.holders);
    if (found->second.holders != 0) return;
    entry = found->second;
    if (entry.object != nullptr) ids_.erase(entry.object);
    if (entry.typed != nullptr) ids_.erase(entry.typed);
    if (entry.actor != nullptr) ids_.erase(entry.actor);
    entries_.erase(found);
  }
  // Outside the mutex: the object may hold handles itself.
  drop(entry);
}

Object* HandleTable::find(std::uint64_t id) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.object == nullptr) return nullptr;
  found->second.object->retain();
  return found->second.object;
}

Object* HandleTable::object(std::uint64_t id, const char* type, Object* (*make)(Engine*)) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.object == nullptr) throw_unknown("object", id);
  Entry& entry = found->second;
  Object* object = entry.typed != nullptr ? entry.typed : entry.object;
  if (*object->type_name() == '\0') {
    entry.typed = object = make(engine_);
    object->take_stored(entry.object->stored());
    object->complete();
    ids_.emplace(object, id);
  }
  if (std::strcmp(object->type_name(), type) != 0) {
    throw Error(ErrorCode::corrupt, fmt::format("handle {:#x} stands for a {}, not a {}", id,
                                                demangle(object->type_name()), demangle(type)));
  }
  object->retain();
  return object;
}

ActorCore* HandleTable::actor(std::uint64_t id) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.actor == nullptr) throw_unknown("actor", id);
  found->second.actor->retain();
  return found->second.actor;
}

std::size_t HandleTable::size() const {
  std::lock_guard lock(mutex_);
  return entries_.size();
}

HeldHandles::~HeldHandles() {
  for (const std::uint64_t id : ids_) table_->release(id);
}

std::uint64_t HeldHandles::add(Object& object) {
  ids_.push_back(table_->hold(object));
  return ids_.back();
}

std::uint64_t HeldHandles::add(ActorCore& actor) {
  ids_.push_back(table_->hold(actor));
  return ids_.back();
}

void HeldHandles::add(std::uint64_t id) {
  if (!table_->hold(id)) throw_unknown("object or actor", id);
  ids_.push_back(id);
}

}  // namespace mobula
