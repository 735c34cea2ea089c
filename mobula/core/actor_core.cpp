#include "mobula/core/actor_core.hpp"

#include <fmt/format.h>

#include <iterator>
#include <mutex>
#include <set>

#include "mobula/base/error.hpp"

namespace mobula {
namespace {

/// The actors of this process. Leaked: handles may outlive static objects.
struct Registry {
  std::mutex mutex;
  std::set<ActorCore*> actors;
};
Registry& registry() {
  static Registry* const all = new Registry;
  return *all;
}

}  // namespace

void ActorCore::set_title(std::string title) {
  title_ = std::move(title);
  std::lock_guard lock(registry().mutex);
  registry().actors.insert(this);
}

void ActorCore::forget() noexcept {
  std::lock_guard lock(registry().mutex);
  registry().actors.erase(this);
}

void ActorCore::for_each(const Engine* engine, const std::function<void(ActorCore&)>& visit) {
  std::lock_guard lock(registry().mutex);
  for (ActorCore* actor : registry().actors) {
    if (actor->engine() == engine) visit(*actor);
  }
}

std::size_t ActorCore::lane_of(const std::string& group) const {
  if (group.empty()) return 0;
  const auto found = options_.groups.find(group);
  if (found != options_.groups.end()) {
    return static_cast<std::size_t>(std::distance(options_.groups.begin(), found)) + 1;
  }
  std::string known;
  for (const auto& [name, width] : options_.groups) known += (known.empty() ? "" : ", ") + name;
  throw_invalid(
      fmt::format("actor {} has no concurrency group '{}'", title_, group),
      known.empty() ? "make it with ActorOptions{.groups = {{\"" + group + "\", 2}}}" : "its groups are: " + known);
}

int ActorCore::lane_width(std::size_t lane) const {
  if (lane == 0) return options_.concurrency;
  return std::next(options_.groups.begin(), static_cast<std::ptrdiff_t>(lane) - 1)->second;
}

int ActorCore::num_calls_at_once() const {
  int count = 0;
  for (std::size_t lane = 0; lane < num_lanes(); ++lane) count += lane_width(lane);
  return count;
}

}  // namespace mobula
