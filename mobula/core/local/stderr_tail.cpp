#include "mobula/core/local/stderr_tail.hpp"

#include <unistd.h>

#include <cerrno>

namespace mobula {

bool StderrTail::forward(int pipe) {
  char buffer[4096];
  for (;;) {
    const ssize_t got = read(pipe, buffer, sizeof buffer);
    if (got == 0) return false;
    if (got < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN;
    }
    kept_.append(buffer, static_cast<std::size_t>(got));
    if (kept_.size() > 4 * kKept) kept_.erase(0, kept_.size() - kKept - 1);
    for (ssize_t written = 0; written < got;) {
      const ssize_t now = write(STDERR_FILENO, buffer + written, static_cast<std::size_t>(got - written));
      if (now < 0 && errno == EINTR) continue;
      if (now <= 0) break;  // our own standard error is gone; the tail is still kept
      written += now;
    }
  }
}

std::string StderrTail::last_lines() const {
  if (kept_.size() <= kKept) return kept_;
  const std::size_t start = kept_.size() - kKept;
  const std::size_t line = kept_.find('\n', start - 1);
  return kept_.substr(line == std::string::npos || line + 1 >= kept_.size() ? start : line + 1);
}

}  // namespace mobula
