#include "mobula/core/ray/ray_worker.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <optional>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

#include "mobula/core/errors.hpp"
#include "mobula/core/function.hpp"
#include "mobula/core/ray/ray_call.hpp"
#include "mobula/core/ray/ray_connection.hpp"

namespace mobula {
namespace {

std::atomic<const RayBridge*> worker_bridge{nullptr};
thread_local const char* running_task = nullptr;

/// Bytes of an argument where they lie; they stay for as long as the call runs.
class BorrowedBytes final : public StoredBytes {
 public:
  explicit BorrowedBytes(std::string_view bytes) : bytes_(bytes) {}
  PinnedBytes pin() const override { return {bytes_, nullptr}; }
  std::size_t size() const noexcept override { return bytes_.size(); }

 private:
  std::string_view bytes_;
};

class RayArguments final : public ArgumentReader {
 public:
  RayArguments(std::string_view header, const RayBytes* objects, std::size_t num_objects)
      : ArgumentReader(header), objects_(objects), num_objects_(num_objects) {}
  std::shared_ptr<const StoredBytes> reference() override {
    const auto index = in.number<std::uint32_t>();
    if (index == 0) return std::make_shared<BorrowedBytes>(in.text());
    if (index > num_objects_) throw Error(ErrorCode::corrupt, "a call names an object that did not come with it");
    const RayBytes& object = objects_[index - 1];
    return std::make_shared<BorrowedBytes>(ray_frame_value({object.data, object.size}));
  }

 private:
  const RayBytes* objects_;
  std::size_t num_objects_;
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

std::string run(const RayBytes* arguments, std::size_t num_arguments, void** actor) {
  RayCallHeader header;
  std::exception_ptr failure;
  try {
    WireReader in({arguments[0].data, arguments[0].size});
    header = decode_ray_call_header(in);
    const bool stored = in.number<std::uint8_t>() != 0;
    std::string_view values(arguments[0].data + arguments[0].size - in.remaining(), in.remaining());
    if (stored && num_arguments < 2) throw Error(ErrorCode::corrupt, "a call came without its arguments");
    // A task whose argument could not be made fails as that did.
    for (std::size_t i = 1; i < num_arguments && failure == nullptr; ++i) {
      failure = ray_frame_error({arguments[i].data, arguments[i].size});
    }
    if (failure == nullptr) {
      const FunctionEntry* function = find_function(header.key);
      if (function == nullptr) {
        throw Error(ErrorCode::not_found, fmt::format("the Ray worker does not know the function '{}'", header.key),
                    "the library on the worker's node is of another build of the program");
      }
      // Large arguments come as an object, the last one.
      if (stored) values = ray_frame_value({arguments[num_arguments - 1].data, arguments[num_arguments - 1].size});
      const EnvironmentScope environment(header.environment);
      running_task = header.title.c_str();
      for (int attempt = 0;; ++attempt) {
        RayArguments reader(values, arguments + 1, num_arguments - 1);
        WireWriter result;
        result.raw(ray_frame(kRayValue).data(), ray_frame(kRayValue).size());
        try {
          function->run_encoded(reader, result, actor);
          running_task = nullptr;
          return result.take();
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

void mobula_ray_execute(const RayBridge* bridge, const RayBytes* arguments, std::size_t num_arguments, void** actor,
                        RayBytes* result) {
  thread_local std::string kept;
  worker_bridge.store(bridge, std::memory_order_release);
  kept = run(arguments, num_arguments, actor);
  std::cout.flush();
  std::fflush(stdout);
  *result = {kept.data(), kept.size()};
}

}  // namespace mobula
