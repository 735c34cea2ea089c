#include "mobula/core/local/worker_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>

#include "mobula/base/error.hpp"

namespace mobula {
namespace {

constexpr const char* kMark = "MOBULA_WORKER";
std::atomic<bool> served = false;

/// Runs `work` on one thread that lives as long as the process. The kernel ends a child marked with
/// PR_SET_PDEATHSIG when the *thread* that started it ends, so children must not be started from threads that
/// come and go.
void run_on_starter_thread(const std::function<void()>& work) {
  struct Starter {
    std::mutex mutex;
    std::condition_variable changed;
    const std::function<void()>* waiting = nullptr;
    bool done = false;
  };
  // Leaked: the thread outlives static destruction.
  static Starter* const starter = [] {
    auto* made = new Starter;
    std::thread([made] {
      sigset_t all;
      sigfillset(&all);
      pthread_sigmask(SIG_BLOCK, &all, nullptr);
      std::unique_lock lock(made->mutex);
      for (;;) {
        made->changed.wait(lock, [&] { return made->waiting != nullptr; });
        (*made->waiting)();
        made->waiting = nullptr;
        made->done = true;
        made->changed.notify_all();
      }
    }).detach();
    return made;
  }();
  static std::mutex* const one_at_a_time = new std::mutex;
  std::lock_guard turn(*one_at_a_time);
  std::unique_lock lock(starter->mutex);
  starter->waiting = &work;
  starter->done = false;
  starter->changed.notify_all();
  starter->changed.wait(lock, [&] { return starter->done; });
}

/// Everything the child touches between vfork and exec; made before, because the child may not allocate.
struct ChildPlan {
  const char* program;
  const char* directory;  // null: stays
  char* const* arguments;
  char* const* environment;
  const int* keep;
  std::size_t num_keep;
  int standard_error;
  int null_device;
  pid_t parent;
};

[[noreturn]] void become_worker(const ChildPlan& plan) {
  // The parent may have ended before the mark was set: then nobody would ever end us.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != plan.parent) _exit(127);
  setpgid(0, 0);
  if (plan.directory != nullptr && chdir(plan.directory) != 0) _exit(127);
  if (dup2(plan.null_device, 0) < 0 || dup2(plan.standard_error, 2) < 0) _exit(127);
  for (std::size_t i = 0; i < plan.num_keep; ++i) {
    if (fcntl(plan.keep[i], F_SETFD, 0) != 0) _exit(127);
  }
  struct sigaction normal {};
  normal.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) sigaction(number, &normal, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(plan.program, plan.arguments, plan.environment);
  _exit(127);
}

/// Kept apart: after vfork the child runs on this very stack frame.
[[gnu::noinline]] pid_t vfork_and_exec(const ChildPlan& plan) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  const pid_t pid = vfork();
#pragma GCC diagnostic pop
  if (pid == 0) become_worker(plan);
  return pid;
}

[[noreturn]] void throw_start(std::string_view what, int error_number) {
  throw Error(ErrorCode::resource,
              fmt::format("a worker process can't be started: {}: {}", what, std::strerror(error_number)),
              "lower the number of workers, or raise the limits on processes and open files (ulimit -u, ulimit -n)");
}

std::optional<WorkerSelf>& self_slot() {
  static std::optional<WorkerSelf> self = []() -> std::optional<WorkerSelf> {
    const char* mark = std::getenv(kMark);
    if (mark == nullptr) return std::nullopt;
    const std::string_view text = mark;
    const std::size_t colon = text.rfind(':');
    WorkerSelf made;
    if (colon == std::string_view::npos) return std::nullopt;
    made.role = std::string(text.substr(0, colon));
    made.socket = std::atoi(mark + colon + 1);
    unsetenv(kMark);
    fcntl(made.socket, F_SETFD, FD_CLOEXEC);
    return made;
  }();
  return self;
}

}  // namespace

WorkerProcess start_worker_process(const WorkerStart& start) {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) throw_start("socketpair", errno);
  Descriptor ours(sockets[0]);
  Descriptor theirs(sockets[1]);
  int pipes[2];
  if (pipe2(pipes, O_CLOEXEC) != 0) throw_start("pipe", errno);
  Descriptor error_reader(pipes[0]);
  Descriptor error_writer(pipes[1]);
  fcntl(error_reader.get(), F_SETFL, O_NONBLOCK);
  Descriptor null_device(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null_device) throw_start("/dev/null", errno);

  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('='));
    bool replaced = name == kMark;
    for (const auto& [key, value] : start.environment) replaced = replaced || key == name;
    if (!replaced) environment.emplace_back(text);
  }
  for (const auto& [key, value] : start.environment) environment.push_back(key + "=" + value);
  environment.push_back(fmt::format("{}={}:{}", kMark, start.role, theirs.get()));
  std::vector<char*> environment_pointers;
  for (std::string& entry : environment) environment_pointers.push_back(entry.data());
  environment_pointers.push_back(nullptr);
  std::string title = start.title;
  char* arguments[] = {title.data(), nullptr};
  std::vector<int> keep = start.inherited;
  keep.push_back(theirs.get());

  const ChildPlan plan{start.program.empty() ? "/proc/self/exe" : start.program.c_str(),
                       start.directory.empty() ? nullptr : start.directory.c_str(),
                       arguments,
                       environment_pointers.data(),
                       keep.data(),
                       keep.size(),
                       error_writer.get(),
                       null_device.get(),
                       getpid()};
  WorkerProcess process;
  int error_number = 0;
  run_on_starter_thread([&] {
    process.pid = vfork_and_exec(plan);
    error_number = errno;
    if (process.pid > 0) process.exited = Descriptor(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
  });
  if (process.pid < 0) throw_start("fork", error_number);
  if (!process.exited) {
    const int reason = errno;
    ::kill(process.pid, SIGKILL);
    waitpid(process.pid, nullptr, 0);
    throw_start("pidfd_open", reason);
  }
  process.socket = std::move(ours);
  process.standard_error = std::move(error_reader);
  return process;
}

WorkerExit reap_worker_process(WorkerProcess& process) {
  int status = 0;
  rusage used{};
  pid_t reaped;
  do {
    reaped = wait4(process.pid, &status, 0, &used);
  } while (reaped < 0 && errno == EINTR);
  // Somebody else's wait(-1) took the status: all that is known is that it ended.
  if (reaped < 0) return {.exit_code = -1};
  const std::uint64_t peak = static_cast<std::uint64_t>(used.ru_maxrss) * 1024;
  if (WIFSIGNALED(status)) return {.signal = WTERMSIG(status), .peak_memory = peak};
  return {.exit_code = WEXITSTATUS(status), .peak_memory = peak};
}

const WorkerSelf* worker_self() {
  auto& self = self_slot();
  return self ? &*self : nullptr;
}

void mark_worker_served() {
  served = true;
}

bool worker_served() {
  return served;
}

void refuse_in_unserved_worker() {
  if (served || worker_self() == nullptr) return;
  throw_invalid("this process was started as a worker, but main() went on as if it were the program",
                "call mobula::serve_if_worker(), or make the Runtime, as the first thing in main()");
}

}  // namespace mobula
