#include "mobula/core/ray/ray_handles.hpp"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/core/actor_core.hpp"
#include "mobula/core/ray/ray_actor.hpp"
#include "mobula/core/ray/ray_engine.hpp"

namespace mobula {
namespace {

void write_id(WireWriter& out, const RayId& id) {
  out.text({id.bytes, id.size});
}

RayId read_id(WireReader& in) {
  const std::string_view text = in.text();
  RayId id{};
  if (text.size() > sizeof id.bytes) throw Error(ErrorCode::corrupt, "a handle from another process is damaged");
  std::memcpy(id.bytes, text.data(), text.size());
  id.size = static_cast<std::uint32_t>(text.size());
  return id;
}

}  // namespace

RayHandleWriter::~RayHandleWriter() {
  for (Object* object : objects_) object->release();
  for (ActorCore* actor : actors_) actor->release();
}

std::uint64_t RayHandleWriter::add(Object& object) {
  object.retain();
  objects_.push_back(&object);
  auto& engine = static_cast<RayEngine&>(*object.engine());
  const RayId id = engine.identity(object);
  RayBuffer description{};
  RayFailure failure{};
  engine.connection()->while_open([&](const RayBridge& bridge) {
    if (bridge.describe_object(&id, &description, &failure) != kRayNone) return;
    table_.number<std::uint8_t>(0);
    write_id(table_, id);
    table_.text({description.data, description.size});
    bridge.release(description.owner);
  });
  if (failure.kind != kRayNone) throw_ray_failure(failure, "a Ref can't be sent");
  held_.push_back(id);
  return held_.size();
}

std::uint64_t RayHandleWriter::add(ActorCore& actor) {
  actor.retain();
  actors_.push_back(&actor);
  const auto& target = static_cast<const RayActor&>(actor);
  RayId counted{};
  RayBuffer description{};
  RayFailure failure{};
  static_cast<RayEngine&>(*actor.engine()).connection()->while_open([&](const RayBridge& bridge) {
    if (bridge.describe_actor(&target.id(), &description, &counted, &failure) != kRayNone) return;
    table_.number<std::uint8_t>(1);
    write_id(table_, target.id());
    table_.text({description.data, description.size});
    table_.text(actor.title());
    table_.number(actor.options().max_restarts);
    table_.number(actor.options().max_task_retries);
    bridge.release(description.owner);
  });
  if (failure.kind != kRayNone) throw_ray_failure(failure, fmt::format("actor {} can't be sent", actor.title()));
  held_.push_back(counted);
  return held_.size();
}

std::string RayHandleWriter::head() const {
  if (held_.empty()) return ray_frame(kRayValue);
  WireWriter head;
  const std::string mark = ray_frame(kRayHandles);
  head.raw(mark.data(), mark.size());
  head.number(static_cast<std::uint32_t>(sizeof(std::uint32_t) + table_.size()));
  head.number(static_cast<std::uint32_t>(held_.size()));
  head.raw(table_.bytes().data(), table_.size());
  return head.take();
}

void RayHandleWriter::note_contents(const RayBridge& bridge, const RayId* outer, std::string_view owner) const {
  if (held_.empty()) return;
  RayFailure failure{};
  bridge.note_contents(outer, held_.data(), held_.size(), {owner.data(), owner.size()}, &failure);
  if (failure.kind != kRayNone) throw_ray_failure(failure, "what a value refers to can't be counted");
}

RayHandleReader::RayHandleReader(std::shared_ptr<RayConnection> connection, const RayId& outer, std::string_view table)
    : connection_(std::move(connection)), outer_(outer) {
  WireReader in(table);
  for (auto left = in.number<std::uint32_t>(); left > 0; --left) {
    Entry& entry = entries_.emplace_back();
    entry.is_actor = in.number<std::uint8_t>() != 0;
    entry.id = read_id(in);
    entry.description = in.text();
    if (!entry.is_actor) continue;
    entry.title = in.text();
    entry.options.max_restarts = in.number<int>();
    entry.options.max_task_retries = in.number<int>();
  }
}

const RayHandleReader::Entry& RayHandleReader::entry(std::uint64_t id, bool is_actor) const {
  if (id > entries_.size() || entries_[id - 1].is_actor != is_actor) {
    throw Error(ErrorCode::corrupt, "a handle from another process stands for nothing");
  }
  return entries_[id - 1];
}

Object* RayHandleReader::object(std::uint64_t id, const char* /*type*/, Object* (*make)(Engine* engine)) {
  const Entry& found = entry(id, false);
  RayFailure failure{};
  const bool open = connection_->while_open([&](const RayBridge& bridge) {
    bridge.adopt_object(&found.id, &outer_, {found.description.data(), found.description.size()}, &failure);
  });
  if (!open) throw Error(ErrorCode::unavailable, "the Runtime has been shut down", "read the object before shutdown()");
  if (failure.kind != kRayNone) throw_ray_failure(failure, "a Ref from another process can't be used");
  auto stored = std::make_shared<RayObject>(connection_, found.id);
  Object* object = make(connection_->engine());
  object->take_stored(std::move(stored));
  object->set_polled();
  return object;
}

ActorCore* RayHandleReader::actor(std::uint64_t id) {
  const Entry& found = entry(id, true);
  RayId adopted{};
  RayFailure failure{};
  const bool open = connection_->while_open([&](const RayBridge& bridge) {
    bridge.adopt_actor(&outer_, {found.description.data(), found.description.size()}, &adopted, &failure);
  });
  if (!open) throw Error(ErrorCode::unavailable, "the Runtime has been shut down", "read the object before shutdown()");
  if (failure.kind != kRayNone) throw_ray_failure(failure, "an Actor from another process can't be used");
  auto* actor = new RayActor(connection_->engine(), found.options, connection_);
  actor->set_id(adopted);
  actor->set_title(found.title);
  return actor;
}

}  // namespace mobula
