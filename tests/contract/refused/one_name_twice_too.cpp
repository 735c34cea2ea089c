#include "mobula/core.hpp"

namespace {
int step(int x) {
  return x + 2;
}
}  // namespace

int step_elsewhere(mobula::Runtime& rt) {
  return rt.get(rt.remote<step>(1));
}
