#include "mobula/base/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

#include "mobula/base/size.hpp"

namespace mobula {
namespace {

std::atomic<bool> progress_enabled{true};
constexpr std::chrono::milliseconds kTerminalInterval{100};
constexpr std::chrono::seconds kPipeInterval{10};

}  // namespace

void set_progress_enabled(bool enabled) {
  progress_enabled = enabled;
}

Progress::Progress(std::string_view label, std::uint64_t total)
    : label_(label), total_(total), terminal_(::isatty(STDERR_FILENO) == 1), start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  if (drawn_) std::fputc('\n', stderr);
}

void Progress::update(std::uint64_t done, std::string_view note) {
  if (!progress_enabled) return;
  const auto now = std::chrono::steady_clock::now();
  if (!started_) {
    started_ = true;
    first_ = done;
    start_ = now;
    last_draw_ = now;
    if (!terminal_) return;
  } else {
    const bool finished = total_ != 0 && done >= total_;
    const auto interval = terminal_ ? std::chrono::steady_clock::duration(kTerminalInterval) : kPipeInterval;
    if (!finished && now - last_draw_ < interval) return;
    last_draw_ = now;
  }
  const std::string text = line(done, note);
  // "\033[K" clears what a longer line before this one left behind.
  const std::string output = terminal_ ? "\r" + text + "\033[K" : text + "\n";
  std::fwrite(output.data(), 1, output.size(), stderr);
  drawn_ = terminal_;
}

void Progress::clear() {
  if (!drawn_) return;
  std::fputs("\r\033[K", stderr);
  drawn_ = false;
}

std::string Progress::line(std::uint64_t done, std::string_view note) const {
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double rate = elapsed > 0 ? static_cast<double>(done - std::min(done, first_)) / elapsed : 0;
  std::string text = label_;
  if (total_ != 0) {
    const double fraction = std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
    if (terminal_) {
      constexpr size_t kWidth = 24;
      const auto filled = static_cast<size_t>(fraction * kWidth);
      text += fmt::format(" [{}{}]", std::string(filled, '#'), std::string(kWidth - filled, '.'));
    }
    text += fmt::format(" {}/{} {:3.0f}%", done, total_, fraction * 100);
    if (rate > 0 && done < total_) {
      const double left = static_cast<double>(total_ - done) / rate;
      text += fmt::format(", {} left", format_duration(std::chrono::seconds(static_cast<long long>(left + 0.5))));
    }
  } else {
    text += fmt::format(" {}", done);
  }
  if (!note.empty()) text += fmt::format("  {}", note);
  return text;
}

}  // namespace mobula
