#include "mobula/core/ray/ray_worker.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

#include "mobula/core/errors.hpp"
#include "mobula/core/function.hpp"
#include "mobula/core/ray/ray_call.hpp"
#include "mobula/core/ray/ray_connection.hpp"
#include "mobula/core/ray/ray_engine.hpp"
#include "mobula/core/ray/ray_handles.hpp"
#include "mobula/core/runtime.hpp"

namespace mobula {
namespace {

std::atomic<const RayBridge*> worker_bridge{nullptr};
thread_local const char* running_task = nullptr;

/// An object that came with a call; who looks at it keeps it.
struct RayArgument {
  RayArgument(const RayBridge& from, const RayBuffer& taken) : bridge(from), buffer(taken) {}
  RayArgument(const RayArgument&) = delete;
  RayArgument& operator=(const RayArgument&) = delete;
  ~RayArgument() { bridge.release(buffer.owner); }
  std::string_view frame() const { return {buffer.data, buffer.size}; }

  const RayBridge& bridge;
  RayBuffer buffer;
  std::unique_ptr<RayHandleReader> handles;
};
using RayObjects = std::vector<std::shared_ptr<RayArgument>>;

/// Bytes of an argument where they lie.
class KeptBytes final : public StoredBytes {
 public:
  KeptBytes(std::string_view bytes, std::shared_ptr<const void> keeper, HandleReader* handles = nullptr)
      : bytes_(bytes), keeper_(std::move(keeper)), handles_(handles) {}
  PinnedBytes pin() const override { return {bytes_, keeper_, handles_}; }
  std::size_t size() const noexcept override { return bytes_.size(); }

 private:
  std::string_view bytes_;
  std::shared_ptr<const void> keeper_;
  HandleReader* handles_;
};

class RayArguments final : public ArgumentReader {
 public:
  /// `stored`: the values are in the last object.
  RayArguments(std::string_view header, const RayCallHeader& call, bool stored, const RayObjects& objects)
      : ArgumentReader(stored ? ray_frame_value(objects.back()->frame()) : header), call_(call), objects_(objects) {
    if (stored) in.set_handles(handles_of(objects.size() - 1));
  }
  std::shared_ptr<const StoredBytes> reference() override {
    const auto index = in.number<std::uint32_t>();
    if (index == 0) {
      const std::string_view small = in.text();  // lies in the header, which is gone after the call
      auto kept = std::make_shared<const std::string>(small);
      return std::make_shared<KeptBytes>(*kept, kept);
    }
    if (index > objects_.size()) throw Error(ErrorCode::corrupt, "a call names an object that did not come with it");
    const auto& object = objects_[index - 1];
    return std::make_shared<KeptBytes>(ray_frame_value(object->frame()), object, handles_of(index - 1));
  }

 private:
  /// Returns who finds the handles in an object; null where it has none.
  HandleReader* handles_of(std::size_t index) {
    RayArgument& object = *objects_[index];
    const std::string_view table = ray_frame_handles(object.frame());
    if (table.empty()) return nullptr;
    if (index >= call_.references.size()) throw Error(ErrorCode::corrupt, "a call does not name its objects");
    if (object.handles == nullptr) {
      const auto& engine = static_cast<const RayEngine&>(*Runtime::current().engine());
      object.handles = std::make_unique<RayHandleReader>(engine.connection(), call_.references[index], table);
    }
    return object.handles.get();
  }

  const RayCallHeader& call_;
  const RayObjects& objects_;
};

/// Sets environment variables for as long as a task runs.
class EnvironmentScope {
 public:
  explicit EnvironmentScope(const Variables& variables) {
    for (const auto& [name, value] : variables) {
      const char* before = std::getenv(name.c_str());
      before_.emplace_back(name, before == nullptr ? std::optional<std::string>() : std::string(before));
      setenv(name.c_str(), value.c_str(), 1);
    }
  }
  EnvironmentScope(const EnvironmentScope&) = delete;
  EnvironmentScope& operator=(const EnvironmentScope&) = delete;
  ~EnvironmentScope() {
    for (auto at = before_.rbegin(); at != before_.rend(); ++at) {
      if (at->second) {
        setenv(at->first.c_str(), at->second->c_str(), 1);
      } else {
        unsetenv(at->first.c_str());
      }
    }
  }

 private:
  std::vector<std::pair<std::string, std::optional<std::string>>> before_;
};

bool worth_another_attempt(const std::exception_ptr& failure, const std::vector<std::string>& types) {
  if (types.empty()) return true;
  std::string type;
  try {
    std::rethrow_exception(failure);
  } catch (const TaskError& error) {
    type = error.type();
  } catch (const std::exception& error) {
    type = demangle(typeid(error).name());
  }
  return std::find(types.begin(), types.end(), type) != types.end();
}

/// Takes a result's value. The mark before it says whether there are handles in it.
class RayResult final : public WireWriter {
 public:
  explicit RayResult(RayHandleWriter& result_handles) : handles_(result_handles) {
    set_handles(&result_handles);
    raw(ray_frame(kRayValue).data(), ray_frame(kRayValue).size());
  }
  /// Returns the frame, which this thread's task returns next.
  std::string finish() {
    if (handles_.empty()) return take();
    handles_.note_contents(*ray_worker_bridge(), nullptr, {});
    return handles_.head() + std::string(bytes().substr(ray_frame(kRayValue).size()));
  }

 private:
  RayHandleWriter& handles_;
};

std::string run(RayBytes head, const RayObjects& objects, void** actor) {
  RayCallHeader header;
  std::exception_ptr failure;
  try {
    WireReader in({head.data, head.size});
    header = decode_ray_call_header(in);
    const bool stored = in.number<std::uint8_t>() != 0;
    const std::string_view values(head.data + head.size - in.remaining(), in.remaining());
    if (stored && objects.empty()) throw Error(ErrorCode::corrupt, "a call came without its arguments");
    // A task whose argument could not be made fails as that did.
    for (std::size_t i = 0; i < objects.size() && failure == nullptr; ++i)
      failure = ray_frame_error(objects[i]->frame());
    if (failure == nullptr) {
      const FunctionEntry* function = find_function(header.key);
      if (function == nullptr) {
        throw Error(ErrorCode::not_found, fmt::format("the Ray worker does not know the function '{}'", header.key),
                    "the library on the worker's node is of another build of the program");
      }
      const EnvironmentScope environment(header.environment);
      running_task = header.title.c_str();
      for (int attempt = 0;; ++attempt) {
        RayArguments reader(values, header, stored, objects);
        RayHandleWriter handles;
        RayResult result(handles);
        try {
          function->run_encoded(reader, result, actor);
          running_task = nullptr;
          return result.finish();
        } catch (...) {
          failure = capture_task_failure();
        }
        if (attempt >= header.retries || !worth_another_attempt(failure, header.retry_on)) break;
      }
      running_task = nullptr;
    }
  } catch (...) {
    failure = capture_task_failure();
  }
  failure = with_context(failure, fmt::format("{}, called by {}", header.title, header.caller));
  return ray_frame(kRayError) + encode_error(failure);
}

}  // namespace

bool in_ray_worker() noexcept {
  return worker_bridge.load(std::memory_order_acquire) != nullptr;
}
const RayBridge* ray_worker_bridge() noexcept {
  return worker_bridge.load(std::memory_order_acquire);
}
const char* ray_worker_task() noexcept {
  return running_task;
}

void mobula_ray_execute(const RayBridge* bridge, RayBytes header, const RayBuffer* objects, std::size_t num_objects,
                        void** actor, RayBytes* result) {
  thread_local std::string kept;
  worker_bridge.store(bridge, std::memory_order_release);
  RayObjects arguments;
  arguments.reserve(num_objects);
  for (std::size_t i = 0; i < num_objects; ++i) {
    arguments.push_back(std::make_shared<RayArgument>(*bridge, objects[i]));
  }
  kept = run(header, arguments, actor);
  arguments.clear();
  std::cout.flush();
  std::fflush(stdout);
  *result = {kept.data(), kept.size()};
}

}  // namespace mobula
