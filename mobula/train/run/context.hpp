/// What a train function sees of its run: who it is among the workers, where the run lives, whom to tell.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "mobula/base/json.hpp"
#include "mobula/core/gang.hpp"
#include "mobula/train/collective/communicator.hpp"

namespace mobula::train {

/// A rank's end of a run. One thread of the rank uses it, save for report_event(), which is thread-safe.
class TrainContext {
 public:
  /// Made by Trainer in each worker process.
  explicit TrainContext(GangMember& member);
  TrainContext(const TrainContext&) = delete;
  TrainContext& operator=(const TrainContext&) = delete;
  ~TrainContext();

  int rank() const noexcept;
  int size() const noexcept;
  /// Returns the threads that this worker computes with.
  int threads() const noexcept { return threads_; }
  /// Returns RunOptions::argument.
  const std::string& argument() const noexcept { return argument_; }
  /// Returns the run's folder.
  const std::filesystem::path& directory() const noexcept { return directory_; }
  /// Tells how often the workers were started anew in this run; 0 at first.
  int restarts() const noexcept { return restarts_; }
  /// Collectives with the other workers.
  Communicator& ranks() noexcept { return ranks_; }

  /// Tells whether this worker was asked to save its state and stop (Ctrl-C, SIGTERM). Workers learn it at different
  /// moments: let them agree (all_reduce_sum) before one stops.
  bool stop_requested();

  /// Tells the driver that a step is done: progress, and values for the tracker ("loss", "lr" ...).
  void report_step(std::int64_t step, const Json& values);
  /// Tells the driver values that belong to a step, such as {"val_loss": 1.9}.
  void report_values(std::int64_t step, const Json& values);
  /// Tells the driver that the run goes on from `step`: what was recorded behind it is void.
  void report_resumed(std::int64_t step);
  /// Adds a line to the run's events.jsonl: {"time", "event": kind, "reason", ...fields}.
  void report_event(std::string_view kind, std::string_view reason, const Json& fields = Json::object());
  /// Sets the run's result, which Trainer::fit returns. Rank 0 calls it, once, at the end.
  void set_result(const Json& result);
  /// Says that the run was stopped on request after `step`, with its state saved. Every rank returns after it.
  void set_stopped(std::int64_t step);

 private:
  void send(std::string_view kind, Json message);

  GangMember& member_;
  Communicator ranks_;
  std::filesystem::path directory_;
  std::string argument_;
  int threads_ = 1;
  int restarts_ = 0;
  bool stop_ = false;
};

}  // namespace mobula::train
