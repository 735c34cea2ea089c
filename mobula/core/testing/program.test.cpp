#include "mobula/core/testing/program.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <map>
#include <stdexcept>

#include "mobula/core/gang.hpp"

namespace mobula::testing {
namespace {

constexpr const char* kMark = "MOBULA_TEST_PROGRAM";

std::map<std::string, int (*)()>& programs() {
  static std::map<std::string, int (*)()> all;
  return all;
}

}  // namespace

Program::Program(const char* name, int (*main)()) {
  programs()[name] = main;
}

RunningProgram::RunningProgram(const std::string& name) {
  int pipes[2];
  if (pipe2(pipes, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipes[1], 1);
  std::string program = "mobula-test-program";
  char* arguments[] = {program.data(), nullptr};
  std::vector<std::string> environment{fmt::format("{}={}", kMark, name)};
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  std::vector<char*> pointers;
  for (std::string& entry : environment) pointers.push_back(entry.data());
  pointers.push_back(nullptr);
  const int error = posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, arguments, pointers.data());
  posix_spawn_file_actions_destroy(&actions);
  close(pipes[1]);
  output_ = pipes[0];
  if (error != 0) throw std::runtime_error("posix_spawn");
}

RunningProgram::~RunningProgram() {
  if (pid_ > 0) {
    kill(SIGKILL);
    wait();
  }
  close(output_);
}

std::string RunningProgram::read_line() {
  std::string line;
  char c = 0;
  for (;;) {
    const ssize_t got = read(output_, &c, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0 || c == '\n') return line;
    line += c;
  }
}

void RunningProgram::kill(int signal) {
  ::kill(pid_, signal);
}

int RunningProgram::wait() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return status;
}

void run_if_program() {
  const char* name = std::getenv(kMark);
  if (name == nullptr) return;
  const auto found = programs().find(name);
  std::exit(found == programs().end() ? 99 : found->second());
}

bool wait_until_gone(pid_t pid, int seconds) {
  const int descriptor = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (descriptor < 0) return errno == ESRCH;
  pollfd ended{descriptor, POLLIN, 0};
  const int ready = poll(&ended, 1, seconds * 1000);
  close(descriptor);
  return ready == 1;
}

}  // namespace mobula::testing

int main(int argc, char** argv) {
  mobula::serve_if_worker();
  mobula::testing::run_if_program();
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
