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

}  // namespace mobula
