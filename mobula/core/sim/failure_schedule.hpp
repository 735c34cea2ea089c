/// What goes wrong in one simulated run, and how often. Drawn from a seed, or set by hand.
#pragma once

#include <cstdint>
#include <string>

#include "mobula/core/sim/event_queue.hpp"

namespace mobula::sim {

/// Probabilities are per occasion, between 0 and 1.
struct FailureSchedule {
  /// False: driver and workers share memory, as in the embedded engine: what a worker has written is there, however it
  /// ended. True: messages between them come late, twice or out of order, and get lost with their sender.
  bool network = false;
  int num_nodes = 1;
  int num_workers = 2;  ///< that run tasks
  int num_slots = 8;
  int num_tasks = 60;
  int num_actors = 2;
  int calls_per_actor = 15;
  int num_cancels = 5;
  int num_kills = 1;  ///< of actors
  int num_node_deaths = 1;
  double dies_running = 0.1;     ///< a worker in the middle of a call
  double dies_idle = 0.02;       ///< a worker after a call
  double fails_to_start = 0.05;  ///< a worker process
  double refused = 0.01;         ///< a call whose arguments find no memory
  double throws = 0.05;          ///< user code
  double duplicated = 0.1;       ///< a message; network only
  double slow = 0.1;             ///< a worker that takes 50 times as long
  double stops_early = 0.1;      ///< the whole runtime, in the middle
  Time longest_delay = 200;      ///< of a message
  Time longest_call = 1000;

  /// Draws a schedule: a quarter of them without any failure of a kind, so that each kind is seen alone too.
  static FailureSchedule draw(std::uint64_t seed);
  std::string text() const;
};

}  // namespace mobula::sim
