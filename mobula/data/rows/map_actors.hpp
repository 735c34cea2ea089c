/// Batches changed by actors, such as models that are loaded once and have resources of their own.
///
///     struct Tagger {
///       explicit Tagger(std::string folder);                                  // loads
///       RecordBatchPointer operator()(const RecordBatchPointer& batch);
///     };
///     auto tagged = map_batches_actors<Tagger>(rows, rt, {.max_actors = 2, .actor = {.gpus = 1}}, std::string("model/"));
///
/// The actors are a stage of the pipeline: they work while the stages before and behind do. There are as many as work
/// waits for, at most max_actors. With Isolation::process each is a process of its own.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mobula/core/runtime.hpp"
#include "mobula/data/dataset.hpp"
#include "mobula/data/rows/batch_value.hpp"
#include "mobula/data/rows/part_worker_scope.hpp"

namespace mobula::data {

/// How a stage's actors are made.
struct ActorPoolOptions {
  int max_actors = 1;
  ActorOptions actor;                     ///< resources and isolation of each
  std::string name = "actors";            ///< in statistics and errors
  std::int64_t batch_size = 0;            ///< rows of a call; 0: as they come
  std::shared_ptr<arrow::Schema> schema;  ///< that comes out; null: a call without rows tells
};

/// The actor: a T that changes batches.
template <class T>
class BatchActor {
 public:
  template <class... A>
  explicit BatchActor(A... arguments) : function_(std::move(arguments)...) {}
  BatchValue change(BatchValue batch) { return {function_(batch.batch)}; }

 private:
  T function_;
};

/// Actors between two runs of a dataset: those of a resumed run serve one part after the other.
template <class Handle>
struct IdleActors {
  std::mutex mutex;
  std::vector<Handle> handles;
};

/// An object that is made when it is first needed, and serves one call after the other.
template <class T>
class LateObject {
 public:
  explicit LateObject(std::function<std::unique_ptr<T>()> make) : make_(std::move(make)) {}
  RecordBatchPointer operator()(const RecordBatchPointer& batch) {
    const std::lock_guard lock(mutex_);
    if (object_ == nullptr) object_ = make_();
    return (*object_)(batch);
  }

 private:
  std::mutex mutex_;
  std::function<std::unique_ptr<T>()> make_;
  std::unique_ptr<T> object_;
};

/// Calls T's operator() in actors of the runtime that `find_runtime` returns when the dataset runs. It must outlive the
/// dataset: its actors stay for its next run. `arguments` construct each T. In a worker that makes parts of an output
/// (plan/part_workers.hpp) there is one T, in the worker itself.
template <class T, class... A>
Dataset map_batches_actors(const Dataset& dataset, std::function<Runtime*()> find_runtime, ActorPoolOptions options,
                           A... arguments) {
  MapOptions map{.name = options.name, .max_instances = options.max_actors, .schema = options.schema};
  const Dataset input = options.batch_size > 0 ? dataset.repartition(options.batch_size) : dataset.stage();
  if (PartWorkerScope::active()) {
    map.max_instances = 1;
    const auto object = std::make_shared<LateObject<T>>([arguments...] { return std::make_unique<T>(arguments...); });
    return input
        .map_batches_with(
            [object] {
              return std::function<RecordBatchPointer(const RecordBatchPointer&)>(
                  [object](const RecordBatchPointer& batch) { return (*object)(batch); });
            },
            std::move(map))
        .stage(1);
  }
  const auto create = [find_runtime, actor_options = options.actor, arguments...] {
    return find_runtime()->with(actor_options).template actor<BatchActor<T>>(arguments...);
  };
  using Handle = decltype(create());
  /// An actor in use; one whose call failed is not used again.
  struct Lease {
    std::shared_ptr<IdleActors<Handle>> idle;
    Handle handle;
    bool failed = false;
    Lease(std::shared_ptr<IdleActors<Handle>> to, Handle actor) : idle(std::move(to)), handle(std::move(actor)) {}
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() {
      if (failed) return;
      const std::lock_guard lock(idle->mutex);
      idle->handles.push_back(std::move(handle));
    }
  };
  const auto idle = std::make_shared<IdleActors<Handle>>();
  const auto make = [find_runtime, create, idle] {
    std::optional<Handle> handle;
    {
      const std::lock_guard lock(idle->mutex);
      if (!idle->handles.empty()) {
        handle.emplace(std::move(idle->handles.back()));
        idle->handles.pop_back();
      }
    }
    if (!handle) handle.emplace(create());
    auto lease = std::make_shared<Lease>(idle, std::move(*handle));
    return std::function<RecordBatchPointer(const RecordBatchPointer&)>(
        [runtime = find_runtime(), lease](const RecordBatchPointer& batch) {
          try {
            return runtime->get(lease->handle.template call<&BatchActor<T>::change>(BatchValue{batch})).batch;
          } catch (...) {
            lease->failed = true;
            throw;
          }
        });
  };
  return input.map_batches_with(make, std::move(map)).stage(options.max_actors);
}

/// The same, with a runtime that is there already.
template <class T, class... A>
Dataset map_batches_actors(const Dataset& dataset, Runtime& runtime, ActorPoolOptions options, A... arguments) {
  return map_batches_actors<T>(dataset, std::function<Runtime*()>([&runtime] { return &runtime; }), std::move(options),
                               std::move(arguments)...);
}

}  // namespace mobula::data
