#include "mobula/core/ray/ray_connection.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/core/actor_core.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/ray/ray_handles.hpp"
#include "mobula/core/wire.hpp"

namespace mobula {
namespace {

constexpr std::size_t kMark = 8;

std::uint64_t mark_of(std::string_view frame) {
  std::uint64_t kind = 0;
  if (frame.size() < kMark) throw Error(ErrorCode::corrupt, "an object in Ray's store is cut short");
  std::memcpy(&kind, frame.data(), kMark);
  return kind;
}

}  // namespace

std::string ray_bridge_path() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&ray_bridge_path), &info) == 0) return "libmobula_ray.so";
  std::error_code ignored;
  const auto library = std::filesystem::absolute(info.dli_fname, ignored);
  return (library.parent_path() / "libmobula_ray.so").string();
}

const RayBridge& load_ray_bridge() {
  static const RayBridge* const loaded = [] {
    const std::string path = ray_bridge_path();
    if (!std::filesystem::exists(path)) {
      throw Error(ErrorCode::unavailable, "this build has no Ray engine",
                  "./dev setup --all installs ray and ray-cpp; then configure and build again (./dev build)");
    }
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      throw Error(ErrorCode::unavailable, fmt::format("the Ray engine can't be loaded: {}", dlerror()),
                  "./dev setup --all installs the ray and ray-cpp it was built with");
    }
    const auto entry = reinterpret_cast<RayBridgeEntry>(dlsym(library, MOBULA_RAY_BRIDGE_SYMBOL));
    if (entry == nullptr) throw Error(ErrorCode::corrupt, fmt::format("{} is no Ray engine", path), "build again");
    return entry();
  }();
  return *loaded;
}

void throw_ray_failure(const RayFailure& failure, const std::string& who) {
  // Of some deaths Ray tells in bytes of its own, which hold no word.
  const std::string_view told = failure.message;
  const bool says_something = told.find(' ') != std::string_view::npos;
  const bool died = failure.kind == kRayWorkerDied || failure.kind == kRayActorDied;
  const std::string message =
      fmt::format("{}: {}", who, died && !says_something ? "its worker has died, or can't be reached any more" : told);
  switch (failure.kind) {
    case kRayTimeout:
      throw TimeoutError(message, "wait longer");
    case kRayWorkerDied:
    case kRayActorDied:
      throw WorkerDiedError(message, 0, 0, {},
                            "the worker's log lies in Ray's session folder on its node (logs/worker-*)");
    case kRayObjectLost:
      throw ObjectLostError(message, "the node that held it is gone, and it can't be made again: put it again");
    case kRayUnavailable:
      throw Error(ErrorCode::unavailable, message, "see `ray status` on the head");
    default:
      throw Error(ErrorCode::internal, message);
  }
}

void RayConnection::close() {
  std::unique_lock lock(mutex_);
  if (closed_) return;
  closed_ = true;
  if (owned_) bridge_.disconnect();
}

/// Bytes that Ray brought here; they are this process's own, and need no connection.
struct RayObject::Frame {
  Frame(const std::shared_ptr<RayConnection>& from, const RayBuffer& buffer, const RayId& id)
      : bridge(from->bridge()), bytes(buffer) {
    const std::string_view table = ray_frame_handles({bytes.data, bytes.size});
    if (!table.empty()) handles = std::make_unique<RayHandleReader>(from, id, table);
  }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;
  ~Frame() { bridge.release(bytes.owner); }
  const RayBridge& bridge;
  RayBuffer bytes;
  std::unique_ptr<RayHandleReader> handles;
};

void RayObject::drop_actor() noexcept {
  if (ActorCore* actor = actor_.exchange(nullptr)) actor->release();
}

RayObject::~RayObject() {
  drop_actor();
  connection_->while_open([&](const RayBridge& bridge) { bridge.release_id(&id_); });
}

RayId RayObject::id() const {
  std::lock_guard lock(mutex_);
  return id_;
}

void RayObject::replace(const RayId& id) {
  std::lock_guard lock(mutex_);
  const RayId before = std::exchange(id_, id);
  connection_->while_open([&](const RayBridge& bridge) { bridge.release_id(&before); });
}

void RayObject::keep(const RayBuffer& frame) const {
  auto kept = std::make_shared<const Frame>(connection_, frame, id());
  std::lock_guard lock(mutex_);
  if (frame_ == nullptr) frame_ = std::move(kept);
}

PinnedBytes RayObject::pin() const {
  const auto pinned = [](const std::shared_ptr<const Frame>& frame) {
    return PinnedBytes(ray_frame_value({frame->bytes.data, frame->bytes.size}), frame, frame->handles.get());
  };
  {
    std::lock_guard lock(mutex_);
    if (frame_ != nullptr) return pinned(frame_);
  }
  RayBuffer frame{};
  RayFailure failure{};
  const RayId own = id();
  const bool open = connection_->while_open([&](const RayBridge& bridge) { bridge.get(&own, -1, &frame, &failure); });
  if (!open) throw Error(ErrorCode::unavailable, "the Runtime has been shut down", "read the object before shutdown()");
  if (failure.kind != kRayNone) throw_ray_failure(failure, "an object can't be read");
  keep(frame);
  std::lock_guard lock(mutex_);
  return pinned(frame_);
}

std::size_t RayObject::size() const noexcept {
  std::lock_guard lock(mutex_);
  return frame_ == nullptr ? 0 : frame_->bytes.size - kMark;
}

std::exception_ptr ray_frame_error(std::string_view frame) {
  switch (mark_of(frame)) {
    case kRayValue:
    case kRayHandles:
      return nullptr;
    case kRayError:
      return decode_error(frame.substr(kMark));
    case kRayMessage:
      return std::make_exception_ptr(
          Error(ErrorCode::unavailable, fmt::format("a Ray worker can't run the program: {}", frame.substr(kMark)),
                "its library must lie at the same path on every node, or travel in the job's working directory "
                "(mobula job submit)"));
    default:
      return std::make_exception_ptr(
          WorkerDiedError("the worker that made an argument has died", 0, 0, {}, "run the task that made it again"));
  }
}

bool is_ray_frame(std::string_view frame) {
  if (frame.size() < kMark) return false;
  const std::uint64_t mark = mark_of(frame);
  return mark == kRayValue || mark == kRayHandles || mark == kRayError || mark == kRayMessage;
}

std::string_view ray_frame_value(std::string_view frame) {
  const std::size_t table = mark_of(frame) == kRayHandles ? sizeof(std::uint32_t) + ray_frame_handles(frame).size() : 0;
  return frame.substr(kMark + table);
}

std::string_view ray_frame_handles(std::string_view frame) {
  if (mark_of(frame) != kRayHandles) return {};
  WireReader in(frame.substr(kMark));
  const auto size = in.number<std::uint32_t>();
  return {in.take(size), size};
}

std::string ray_frame(RayFrame kind) {
  const auto mark = static_cast<std::uint64_t>(kind);
  return {reinterpret_cast<const char*>(&mark), sizeof mark};
}

}  // namespace mobula
