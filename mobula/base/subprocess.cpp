#include "mobula/base/subprocess.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <thread>

#include "mobula/base/error.hpp"

extern char** environ;

namespace mobula {
namespace {

int decode_status(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Returns our environment with `changes` applied, as "NAME=value".
std::vector<std::string> merged_environment(const std::vector<std::pair<std::string, std::string>>& changes) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string_view name = text.substr(0, text.find('='));
    bool changed = false;
    for (const auto& [key, value] : changes) changed = changed || key == name;
    if (!changed) merged.emplace_back(text);
  }
  for (const auto& [key, value] : changes) merged.push_back(key + "=" + value);
  return merged;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& text : strings) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

Subprocess::Subprocess(const std::vector<std::string>& arguments, SubprocessOptions options) {
  if (arguments.empty()) throw_internal("a subprocess without a program");
  int pipe[2] = {-1, -1};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  if (options.capture_stdout) {
    if (::pipe2(pipe, O_CLOEXEC) != 0) throw_io("a pipe", errno);
    ::posix_spawn_file_actions_adddup2(&actions, pipe[1], STDOUT_FILENO);
  }
  if (options.discard_stderr) {
    ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  }
  std::vector<std::string> words = arguments;
  std::vector<std::string> environment = merged_environment(options.environment);
  const int failure =
      ::posix_spawnp(&pid_, words[0].c_str(), &actions, nullptr, pointers(words).data(), pointers(environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (pipe[1] >= 0) ::close(pipe[1]);
  output_ = pipe[0];
  if (failure != 0) {
    if (output_ >= 0) ::close(output_);
    throw Error(failure == ENOENT ? ErrorCode::not_found : ErrorCode::resource,
                fmt::format("{} can't be started: {}", words[0], std::generic_category().message(failure)));
  }
}

Subprocess::~Subprocess() {
  if (output_ >= 0) ::close(output_);
  if (result_) return;
  signal(SIGKILL);
  wait();
}

std::optional<std::string> Subprocess::read_line() {
  while (true) {
    if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    char chunk[4096];
    const ssize_t got = output_ < 0 ? 0 : ::read(output_, chunk, sizeof(chunk));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      if (buffer_.empty()) return std::nullopt;
      return std::exchange(buffer_, {});
    }
    buffer_.append(chunk, static_cast<size_t>(got));
  }
}

void Subprocess::signal(int number) noexcept {
  if (!result_) ::kill(pid_, number);
}

int Subprocess::wait() {
  int status = 0;
  while (!result_) {
    if (::waitpid(pid_, &status, 0) == pid_) {
      result_ = decode_status(status);
    } else if (errno != EINTR) {
      throw_io(fmt::format("waiting for process {}", pid_), errno);
    }
  }
  return *result_;
}

std::optional<int> Subprocess::wait_for(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!result_) {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) {
      result_ = decode_status(status);
    } else if (std::chrono::steady_clock::now() >= deadline) {
      return std::nullopt;
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  return result_;
}

std::string program_path() {
  return std::filesystem::canonical("/proc/self/exe").string();
}

}  // namespace mobula
