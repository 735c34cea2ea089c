/// Runs the directory of objects - the main process's HandleTable and WorkerSession, as they are - with imagined workers
/// that hold, drop, put, ask for and return handles, and die in the middle of a message, under a seed. Checks that
///
///   - whatever anybody can still get at, through however many objects, is there;
///   - when nobody holds anything any more, nothing is left.
///
/// What it does not know: bytes in shared memory, spilling, and threads (one step happens after the other).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mobula::sim {

/// An order of events to be planted in the driver, to see that the checks find it.
enum class HandleMistake {
  none,
  results_before_frames,  ///< results are taken without the frames that the worker had sent before
  frames_before_results,  ///< frames are acted on without the results that the worker had shown before
};

struct HandleSimulationOptions {
  std::uint64_t seed = 1;
  int num_workers = 3;
  int num_steps = 400;
  double dies = 0.01;  ///< a worker, a step
  HandleMistake mistake = HandleMistake::none;
};

struct HandleSimulationResult {
  std::vector<std::string> violations;  ///< empty: all promises were kept
  int num_objects = 0;
  int num_calls = 0;
  int num_deaths = 0;
};

/// Simulates one run to its end. Throws Error(io) where the system has no sockets left.
HandleSimulationResult simulate_handles(const HandleSimulationOptions& options);

}  // namespace mobula::sim
