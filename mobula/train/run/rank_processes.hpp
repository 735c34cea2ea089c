/// The processes of a run's ranks: children of this process, or of an actor on a node of a cluster.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mobula/core/gang.hpp"
#include "mobula/core/local/code_address.hpp"

namespace mobula {
class Runtime;
}

namespace mobula::train {

/// What the ranks are started with. A plain value that crosses to another node.
struct RanksStart {
  CodeAddress function;   ///< the train function
  std::string directory;  ///< the run's folder
  std::string argument;   ///< RunOptions::argument
  int workers = 1;
  int threads = 0;  ///< of each rank; 0: the node's processors shared among them
  int restarts = 0;
  std::vector<std::pair<std::string, std::string>> environment;  ///< set in the ranks only
};

/// Where the ranks are.
struct RankPlace {
  std::string host;
  std::vector<std::int64_t> pids;  ///< by rank
};

/// Starts the ranks, tells what happens to them, and passes messages on. One thread uses it.
class RankProcesses {
 public:
  virtual ~RankProcesses() = default;

  /// Starts all ranks; those of an earlier start have ended. Throws Error(resource) where the system refuses.
  virtual RankPlace start(const RanksStart& start) = 0;
  /// Waits for the next event; nothing when `timeout` has passed, or when all ranks ended and all events were given out.
  /// An event of rank -1 is the death of what they all run on; its payload says how.
  virtual std::optional<GangEvent> next_event(std::chrono::milliseconds timeout) = 0;
  virtual bool running() = 0;
  /// Sends bytes to a rank; dropped where it is dead.
  virtual void send(int rank, const std::string& bytes) = 0;
  /// Ends the ranks at once.
  virtual void kill() = 0;
};

/// Makes the ranks' processes: children of this one where `runtime` is null or runs on this machine alone, else all on
/// one node of the runtime's cluster. That node needs the program, its libraries and the run's folder under the same paths.
std::unique_ptr<RankProcesses> make_rank_processes(Runtime* runtime);

}  // namespace mobula::train
