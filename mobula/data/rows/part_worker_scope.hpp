/// What tells datasets that they are made inside a worker that makes whole parts of an output.
#pragma once

namespace mobula::data {

/// While one lives, datasets that this thread makes keep their actors' work in this process: the worker is the actor.
class PartWorkerScope {
 public:
  PartWorkerScope();
  PartWorkerScope(const PartWorkerScope&) = delete;
  PartWorkerScope& operator=(const PartWorkerScope&) = delete;
  ~PartWorkerScope();

  /// Tells whether one lives in this thread.
  static bool active();

 private:
  bool before_;
};

}  // namespace mobula::data
