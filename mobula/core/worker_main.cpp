#include <unistd.h>

#include <cstdio>

#include "mobula/core/gang.hpp"
#include "mobula/core/local/gang_protocol.hpp"
#include "mobula/core/local/process_worker.hpp"
#include "mobula/core/local/worker_process.hpp"

namespace mobula {

void serve_if_worker() {
  const WorkerSelf* self = worker_self();
  if (self == nullptr) return;
  mark_worker_served();
  if (self->role == kGangRole) serve_gang_member(self->socket);
  if (self->role == kTaskWorkerRole) serve_task_worker(self->socket);
  std::fprintf(stderr, "error: this program was started as a worker of the unknown kind '%s'\n", self->role.c_str());
  _exit(2);
}

}  // namespace mobula
