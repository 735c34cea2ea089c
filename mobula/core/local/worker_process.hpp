/// A child process that runs this same program as a worker: how it is started, told what it is, and tied to
/// our life.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "mobula/base/descriptor.hpp"
#include "mobula/core/errors.hpp"

namespace mobula {

/// What a child is started with.
struct WorkerStart {
  std::string role;            ///< which kind of worker serve_if_worker() becomes, such as "gang"
  std::string title;           ///< shown as the program's first argument in process lists
  std::vector<int> inherited;  ///< descriptors that the child gets under the same numbers
  std::vector<std::pair<std::string, std::string>> environment;  ///< set in the child only
  std::string program;                                           ///< path; empty: this same program
  std::string directory;                                         ///< its working directory; empty: ours
};

/// The parent's handles of a started child. Dropping them does not end it.
struct WorkerProcess {
  pid_t pid = -1;
  Descriptor exited;          ///< pidfd: readable once the child has ended
  Descriptor socket;          ///< our end of a stream socket pair
  Descriptor standard_error;  ///< reading end of the child's standard error, non-blocking
};

/// Starts a child of this program (or of the one named). It gets /dev/null as standard input, our standard output, a process group
/// of its own (the terminal's Ctrl-C reaches us alone), and SIGKILL from the kernel when this process ends in
/// whatever way. Throws Error(resource) where the system refuses.
WorkerProcess start_worker_process(const WorkerStart& start);

/// Reaps a child whose pidfd is readable. `out_of_memory` is left to OomWatch.
WorkerExit reap_worker_process(WorkerProcess& process);

/// What a worker's process finds at its start.
struct WorkerSelf {
  std::string role;
  int socket = -1;  ///< the other end of WorkerProcess::socket
};
/// Returns how this process was started, when it was as a worker. The mark in the environment is removed, so
/// that programs the worker starts don't take themselves for one.
const WorkerSelf* worker_self();
/// Notes that this process has become the worker it was started as, and tells whether it has.
void mark_worker_served();
bool worker_served();
/// Throws Error(invalid_argument) in a worker's process that has come past the start of main() without
/// becoming the worker: without this, every worker would start workers of its own.
void refuse_in_unserved_worker();

}  // namespace mobula
