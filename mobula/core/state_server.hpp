/// Lets other programs of the same user look into a running one: `mobula top`, and a metrics page for Prometheus.
///
/// The way in is a Unix socket in the abstract namespace, named after user and process: it leaves no file behind, however
/// the program ends, and both sides check that the other is of the same user (or root).
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "mobula/base/descriptor.hpp"

namespace mobula {

class StateServer {
 public:
  /// Returns the answer to "state", "metrics" or "timeline"; is told "nobody" when nobody has asked for a while.
  using Answer = std::function<std::string(std::string_view question)>;

  /// Serves on a thread of its own. `metrics_port`: also http://127.0.0.1:PORT/metrics; 0: none. Throws Error(io) where
  /// the port is taken; without the Unix socket (a system that has none) it goes on.
  StateServer(int metrics_port, Answer answer);
  StateServer(const StateServer&) = delete;
  StateServer& operator=(const StateServer&) = delete;
  ~StateServer();

 private:
  void serve();
  void answer_local(int client) const;
  void answer_http(int client) const;

  Answer answer_;
  Descriptor local_;
  Descriptor http_;
  Descriptor stop_;
  std::thread thread_;
};

/// Returns the processes of this user that can be asked.
std::vector<pid_t> find_programs();
/// Asks one of them. Throws Error(unavailable) where it does not answer.
std::string ask_program(pid_t pid, std::string_view question);

}  // namespace mobula
