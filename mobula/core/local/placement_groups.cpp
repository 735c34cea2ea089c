#include "mobula/core/local/placement_groups.hpp"

#include <fmt/format.h>

#include <utility>

#include "mobula/core/errors.hpp"

namespace mobula {
namespace {

std::string name_in_bundle(const std::string& resource, std::uint64_t group, std::size_t bundle) {
  return fmt::format("{}@{}.{}", resource, group, bundle);
}

ResourceSet in_bundle(const ResourceSet& need, std::uint64_t group, std::size_t bundle) {
  ResourceSet renamed;
  for (const auto& [name, amount] : need.amounts()) renamed.set(name_in_bundle(name, group, bundle), amount);
  return renamed;
}

}  // namespace

class PlacementGroups::Group final : public Reservation, public std::enable_shared_from_this<Group> {
 public:
  Group(std::uint64_t id, std::vector<ResourceSet> bundles, std::shared_ptr<ResourceScheduler> scheduler)
      : id_(id), bundles_(std::move(bundles)), scheduler_(std::move(scheduler)) {
    for (std::size_t i = 0; i < bundles_.size(); ++i) {
      whole_ += bundles_[i];
      offered_ += in_bundle(bundles_[i], id_, i);
    }
  }

  const ResourceSet& whole() const noexcept { return whole_; }
  const std::vector<ResourceSet>& bundles() const noexcept { return bundles_; }

  void begin() {
    // The scheduler keeps the group until it is removed.
    const std::uint64_t entry = scheduler_->acquire(whole_, [self = shared_from_this()] { self->set_aside(); });
    std::lock_guard lock(mutex_);
    entry_ = entry;
  }

  std::uint64_t id() const noexcept override { return id_; }
  bool ready() override {
    std::lock_guard lock(mutex_);
    return state_ == State::ready;
  }
  bool wait(std::chrono::nanoseconds timeout) override {
    std::unique_lock lock(mutex_);
    const auto known = [&] { return state_ != State::waiting; };
    if (timeout.count() < 0) {
      changed_.wait(lock, known);
    } else if (!changed_.wait_for(lock, timeout, known)) {
      return false;
    }
    if (state_ == State::removed) throw ResourceError(removed_message(), "make another group");
    return true;
  }
  void remove() override {
    State before = State::removed;
    std::uint64_t entry = 0;
    {
      std::lock_guard lock(mutex_);
      before = std::exchange(state_, State::removed);
      entry = entry_;
      changed_.notify_all();
    }
    if (before == State::removed) return;
    if (before == State::waiting) scheduler_->withdraw(entry);
    // What waits to run in it fails, whether it was set aside or not.
    scheduler_->retire(offered_, before == State::ready ? whole_ : ResourceSet(),
                       std::make_exception_ptr(ResourceError(removed_message(), "wait for its tasks before remove()")));
  }
  bool removed() {
    std::lock_guard lock(mutex_);
    return state_ == State::removed;
  }
  std::string removed_message() const { return fmt::format("placement group {} was removed", id_); }

 private:
  enum class State { waiting, ready, removed };

  void set_aside() {
    {
      std::lock_guard lock(mutex_);
      if (state_ == State::waiting) {
        state_ = State::ready;
        changed_.notify_all();
      }
    }
    if (removed()) {
      scheduler_->release(whole_);
    } else {
      scheduler_->offer(offered_);
    }
  }

  const std::uint64_t id_;
  const std::vector<ResourceSet> bundles_;
  const std::shared_ptr<ResourceScheduler> scheduler_;
  ResourceSet whole_;
  ResourceSet offered_;
  std::mutex mutex_;
  std::condition_variable changed_;
  State state_ = State::waiting;
  std::uint64_t entry_ = 0;
};

std::shared_ptr<Reservation> PlacementGroups::reserve(const std::vector<Bundle>& bundles,
                                                      const PlacementOptions& options) {
  if (options.strategy == PlacementStrategy::strict_spread && bundles.size() > 1) {
    throw ResourceError(fmt::format("strict_spread of {} bundles needs {} nodes, and the local engine is one",
                                    bundles.size(), bundles.size()),
                        "use PlacementStrategy::spread, or run on a cluster (--engine ray://HOST:PORT)");
  }
  std::vector<ResourceSet> amounts;
  for (const Bundle& bundle : bundles) {
    amounts.push_back(requirement(bundle));
    if (amounts.back().empty()) throw_invalid("a bundle of a placement group asks for nothing", "give it resources");
  }
  std::shared_ptr<Group> group;
  {
    std::lock_guard lock(mutex_);
    std::erase_if(groups_, [](const auto& known) { return known.second->removed() && known.second.use_count() == 1; });
    group = std::make_shared<Group>(next_++, std::move(amounts), scheduler_);
    const std::string who = options.name.empty() ? fmt::format("placement group {}", group->id())
                                                 : fmt::format("placement group '{}'", options.name);
    scheduler_->check(group->whole(), who);
    groups_[group->id()] = group;
  }
  group->begin();
  return group;
}

ResourceSet PlacementGroups::translate(const ResourceSet& need, BundleRef placement, const std::string& who) {
  if (placement.group == 0) return need;
  std::lock_guard lock(mutex_);
  const auto found = groups_.find(placement.group);
  const std::shared_ptr<Group> group = found == groups_.end() ? nullptr : found->second;
  if (group == nullptr) {
    throw_invalid(fmt::format("{}: there is no placement group {}", who, placement.group),
                  "make it with placement_group(), and keep the handle");
  }
  if (group->removed()) throw ResourceError(fmt::format("{}: {}", who, group->removed_message()), "make another group");
  const auto& bundles = group->bundles();
  if (placement.index >= 0) {
    const auto index = static_cast<std::size_t>(placement.index);
    if (index >= bundles.size() || !bundles[index].covers(need)) {
      throw ResourceError(
          fmt::format("{}: needs {}, but bundle {} of placement group {} has {}", who, need.text(), index,
                      placement.group, index < bundles.size() ? bundles[index].text() : "not been made"),
          "ask for less, or make the bundle larger");
    }
    return in_bundle(need, placement.group, index);
  }
  for (std::size_t i = 0; i < bundles.size(); ++i) {
    const std::size_t index = (turn_ + i) % bundles.size();
    if (!bundles[index].covers(need)) continue;
    turn_ = index + 1;
    return in_bundle(need, placement.group, index);
  }
  throw ResourceError(
      fmt::format("{}: needs {}, more than any bundle of placement group {} has", who, need.text(), placement.group),
      "ask for less, or make a bundle larger");
}

}  // namespace mobula
