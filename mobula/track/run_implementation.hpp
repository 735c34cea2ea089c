/// What stands behind Run: shared by run.cpp and store.cpp.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "mobula/track/run.hpp"
#include "mobula/track/run_recorder.hpp"

namespace mobula::track {

struct Run::Impl {
  Impl(std::unique_ptr<Database> database, std::string id) : recorder(std::move(database), std::move(id)) {}

  RunRecorder recorder;
  std::atomic<bool> finished{false};
  int exceptions_at_start = std::uncaught_exceptions();
};

}  // namespace mobula::track
