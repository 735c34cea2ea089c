#include "mobula/core/local/stderr_tail.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "mobula/base/json.hpp"
#include "mobula/base/log.hpp"

namespace mobula {
namespace {

void write_to_stderr(std::string_view text) {
  while (!text.empty()) {
    const ssize_t now = write(STDERR_FILENO, text.data(), text.size());
    if (now < 0 && errno == EINTR) continue;
    if (now <= 0) return;  // our own standard error is gone; the tail is still kept
    text.remove_prefix(static_cast<std::size_t>(now));
  }
}

}  // namespace

std::string StderrTail::labelled(std::string_view line) const {
  if (log_format() == LogFormat::text) return fmt::format("[{}, {}] {}", worker_, pid_, line);
  const std::string source = fmt::format(R"("worker":{},"pid":{})", to_line(Json(worker_)), pid_);
  // The worker's own log lines are objects already.
  if (line.starts_with(R"({"time":)")) return fmt::format("{},{}}}", line.substr(0, line.size() - 1), source);
  return fmt::format(R"({{"level":"info","message":{},{}}})", to_line(Json(line)), source);
}

void StderrTail::write(std::string_view text) const {
  if (sink_) {
    sink_(text);
  } else {
    write_to_stderr(text);
  }
}

bool StderrTail::forward(int pipe) {
  char buffer[4096];
  for (;;) {
    const ssize_t got = read(pipe, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      if (got == 0 && !partial_.empty()) write(labelled(std::exchange(partial_, {})) + "\n");
      return got < 0 && errno == EAGAIN;
    }
    const std::string_view bytes(buffer, static_cast<std::size_t>(got));
    kept_.append(bytes);
    if (kept_.size() > 4 * kKept) kept_.erase(0, kept_.size() - kKept - 1);
    if (worker_.empty()) {
      write(bytes);
      continue;
    }
    partial_.append(bytes);
    std::string lines;
    std::size_t start = 0;
    for (std::size_t end; (end = partial_.find('\n', start)) != std::string::npos; start = end + 1) {
      lines += labelled(std::string_view(partial_).substr(start, end - start)) + "\n";
    }
    partial_.erase(0, start);
    if (partial_.size() > kMaxLine) lines += labelled(std::exchange(partial_, {})) + "\n";
    write(lines);
  }
}

std::string StderrTail::last_lines() const {
  if (kept_.size() <= kKept) return kept_;
  const std::size_t start = kept_.size() - kKept;
  const std::size_t line = kept_.find('\n', start - 1);
  return kept_.substr(line == std::string::npos || line + 1 >= kept_.size() ? start : line + 1);
}

}  // namespace mobula
