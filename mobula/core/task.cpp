#include "mobula/core/task.hpp"

#include "mobula/core/actor.hpp"
#include "mobula/core/actor_core.hpp"

namespace mobula {

const TaskOptions& Task::options() const noexcept {
  static const TaskOptions defaults;
  return extras == nullptr ? defaults : extras->options;
}

std::string Task::display_name() const {
  if (extras != nullptr && !extras->options.name.empty()) return extras->options.name;
  return function().name;
}

void* task::actor_instance(ActorCore* actor) noexcept {
  return actor->instance();
}
void task::set_actor_instance(ActorCore* actor, void* instance, void (*destroy)(void*)) noexcept {
  actor->set_instance(instance, destroy);
}

void task::end_actor_instance(ActorCore* actor) noexcept {
  actor->end_instance();
}

void throw_handle_leaves_process(const char* what) {
  throw Error(ErrorCode::unsupported, std::string("a mobula::") + what + " inside a value can't leave its process",
              "pass the Ref itself as an argument, which hands over its value, or run the task in a thread");
}

}  // namespace mobula
