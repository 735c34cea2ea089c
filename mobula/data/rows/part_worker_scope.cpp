#include "mobula/data/rows/part_worker_scope.hpp"

#include <utility>

namespace mobula::data {
namespace {
thread_local bool scope_is_active = false;
}

PartWorkerScope::PartWorkerScope() : before_(std::exchange(scope_is_active, true)) {}

PartWorkerScope::~PartWorkerScope() {
  scope_is_active = before_;
}

bool PartWorkerScope::active() {
  return scope_is_active;
}

}  // namespace mobula::data
