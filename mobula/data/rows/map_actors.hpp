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

#include <memory>
#include <string>
#include <utility>

#include "mobula/core/runtime.hpp"
#include "mobula/data/dataset.hpp"
#include "mobula/data/rows/batch_value.hpp"

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

/// Calls T's operator() in actors of the runtime, which must outlive the run. `arguments` construct each T.
template <class T, class... A>
Dataset map_batches_actors(const Dataset& dataset, Runtime& runtime, ActorPoolOptions options, A... arguments) {
  MapOptions map{.name = options.name, .max_instances = options.max_actors, .schema = options.schema};
  const auto make = [&runtime, actor_options = options.actor, arguments...] {
    auto actor = runtime.with(actor_options).template actor<BatchActor<T>>(arguments...);
    return std::function<RecordBatchPointer(const RecordBatchPointer&)>(
        [&runtime, actor](const RecordBatchPointer& batch) {
          return runtime.get(actor.template call<&BatchActor<T>::change>(BatchValue{batch})).batch;
        });
  };
  const Dataset input = options.batch_size > 0 ? dataset.repartition(options.batch_size) : dataset.stage();
  return input.map_batches_with(make, std::move(map)).stage(options.max_actors);
}

}  // namespace mobula::data
