#include "mobula/core/ray/ray_outgoing.hpp"

#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/core/ray/ray_actor.hpp"
#include "mobula/core/ray/ray_call.hpp"
#include "mobula/core/ray/ray_handles.hpp"

namespace mobula {
namespace {

/// How often Ray runs a C++ task when its worker dies: once more, whatever it is asked for.
constexpr int kAttemptsOfRay = 2;

RayResource of_ray(const std::string& name, double amount) {
  return {name == "cpu" ? "CPU" : name == "gpu" ? "GPU" : name.c_str(), amount};
}

}  // namespace

std::shared_ptr<RayObject> ray_object(Object& object) {
  return std::const_pointer_cast<RayObject>(std::dynamic_pointer_cast<const RayObject>(object.stored()));
}

int attempts_left(const Task& task, int times) {
  return task.options().retries + 1 - kAttemptsOfRay * times;
}

RayCall RayEngine::Outgoing::finish() {
  resources.clear();
  for (const auto& [resource, amount] : needs) {
    if (amount > 0) resources.push_back(of_ray(resource, amount));
  }
  RayCall call{};
  call.name = name.c_str();
  call.header = {header.data(), header.size()};
  call.references = references.data();
  call.num_references = references.size();
  call.resources = resources.data();
  call.num_resources = resources.size();
  call.placement_group = group == nullptr ? nullptr : &group->ray_id();
  call.bundle = group == nullptr ? -1 : bundle;
  return call;
}

namespace {

/// Puts arguments together: what lies in Ray's store goes by name, what is large goes there first.
class RayArgumentWriter final : public ArgumentWriter {
 public:
  RayArgumentWriter(RayEngine& engine, std::vector<RayId>& references, std::vector<std::shared_ptr<RayObject>>& kept)
      : engine_(engine), references_(references), kept_(kept) {
    out.set_handles(&handles_);
  }
  const RayHandleWriter& handles() const noexcept { return handles_; }
  void reference(Object& object) override {
    std::shared_ptr<RayObject> stored = ray_object(object);
    if (stored == nullptr) {
      RayHandleWriter handles;
      WireWriter value;
      value.set_handles(&handles);
      object.encode_value(value);
      if (value.bytes().size() <= kRayInlineBytes && handles.empty()) {
        out.number<std::uint32_t>(0);
        out.text(value.bytes());
        return;
      }
      stored = engine_.store(value.bytes(), handles);
      object.attach_stored(stored);
    }
    references_.push_back(stored->id());
    kept_.push_back(std::move(stored));
    out.number(static_cast<std::uint32_t>(references_.size()));
  }

 private:
  RayEngine& engine_;
  RayHandleWriter handles_;
  std::vector<RayId>& references_;
  std::vector<std::shared_ptr<RayObject>>& kept_;
};

}  // namespace

RayEngine::Outgoing RayEngine::outgoing(Task& task) {
  Outgoing call;
  call.name = task.display_name();
  const TaskOptions& options = task.options();
  RayCallHeader header{.key = task.function().key,
                       .title = call.name,
                       .caller = task.caller == nullptr ? "the program" : task.caller,
                       .environment = options.environment};
  if (options.retry_exceptions || !options.retry_on.empty()) {
    header.retries = options.retries;
    header.retry_on = options.retry_on;
  }
  RayArgumentWriter arguments(*this, call.references, call.kept);
  task.encode_arguments(arguments);
  // Large arguments go through the store, as one object, and those with handles, which Ray then counts.
  const bool large = arguments.out.bytes().size() > kRayInlineBytes || !arguments.handles().empty();
  if (large) {
    call.kept.push_back(store(arguments.out.bytes(), arguments.handles()));
    call.references.push_back(call.kept.back()->id());
  }
  header.references = call.references;
  const std::string library = library_of(task.function());
  WireWriter head;
  head.number(static_cast<std::uint32_t>(library.size()));
  head.raw(library.data(), library.size());
  encode(head, header);
  head.number<std::uint8_t>(large ? 1 : 0);
  if (!large) head.raw(arguments.out.bytes().data(), arguments.out.bytes().size());
  call.header = head.take();
  return call;
}

RayId RayEngine::send_once(Task& task, Outgoing& call) {
  // A call of an actor is made once, whatever becomes of its worker: the actor is made for it, and leaves after it.
  RayCall make = call.finish();
  const std::uint32_t nothing = 0;
  make.header = {reinterpret_cast<const char*>(&nothing), sizeof nothing};
  make.references = nullptr;
  make.num_references = 0;
  call.needs.clear();
  RayCall run = call.finish();
  run.placement_group = nullptr;
  run.bundle = -1;
  RayCall end{};
  end.name = "end";
  end.header = {reinterpret_cast<const char*>(&nothing), sizeof nothing};
  end.bundle = -1;
  RayId actor{};
  RayId result{};
  RayId ended{};
  RayFailure failure{};
  const bool open = connection_->while_open([&](const RayBridge& bridge) {
    if (bridge.create_actor(&make, &actor, &failure) != kRayNone) return;
    if (bridge.call_actor(&actor, &run, &result, &failure) != kRayNone) return;
    if (bridge.call_actor(&actor, &end, &ended, &failure) == kRayNone) bridge.release_id(&ended);
  });
  if (!open) throw Error(ErrorCode::unavailable, "the Runtime has been shut down", "do this before shutdown()");
  if (failure.kind != kRayNone) throw_ray_failure(failure, task.display_name());
  return result;
}

RayId RayEngine::send(Task& task, Outgoing& call, int times) {
  if (task.actor() == nullptr && attempts_left(task, times) < kAttemptsOfRay) return send_once(task, call);
  RayCall made = call.finish();
  RayId result{};
  RayFailure failure{};
  auto* actor = static_cast<RayActor*>(task.actor());
  const bool open = connection_->while_open([&](const RayBridge& bridge) {
    if (actor == nullptr) {
      bridge.call(&made, &result, &failure);
    } else {
      const RayId id = actor->id();
      bridge.call_actor(&id, &made, &result, &failure);
    }
  });
  if (!open) throw Error(ErrorCode::unavailable, "the Runtime has been shut down", "do this before shutdown()");
  if (failure.kind != kRayNone) throw_ray_failure(failure, task.display_name());
  return result;
}

}  // namespace mobula
