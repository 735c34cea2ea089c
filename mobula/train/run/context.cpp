#include "mobula/train/run/context.hpp"

#include <atomic>
#include <chrono>
#include <csignal>

#include "mobula/train/run/rank_start.hpp"

namespace mobula::train {
namespace {

std::atomic<bool> terminated{false};

/// SIGTERM asks for a clean end; Ctrl-C reaches the whole process group, and the driver passes it on in its own way.
void install_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { terminated = true; };
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGINT, SIG_IGN);
  // A file over the size limit is an error of one write, not the end of the process.
  std::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace

TrainContext::TrainContext(GangMember& member)
    : member_(member), ranks_(member.shared(), member.rank(), member.size()) {
  RankStart start = decode_rank_start(member.argument());
  directory_ = std::move(start.directory);
  argument_ = std::move(start.argument);
  threads_ = start.threads;
  restarts_ = start.restarts;
  install_signals();
}

TrainContext::~TrainContext() = default;

int TrainContext::rank() const noexcept {
  return member_.rank();
}
int TrainContext::size() const noexcept {
  return member_.size();
}

bool TrainContext::stop_requested() {
  stop_ = stop_ || terminated;
  while (!stop_) {
    const auto message = member_.receive(std::chrono::nanoseconds(0));
    if (!message) break;
    stop_ = *message == "stop";
  }
  return stop_;
}

void TrainContext::report_step(std::int64_t step, const Json& values) {
  send("step", {{"step", step}, {"values", values}});
}

void TrainContext::report_values(std::int64_t step, const Json& values) {
  send("values", {{"step", step}, {"values", values}});
}

void TrainContext::report_resumed(std::int64_t step) {
  send("resumed", {{"step", step}});
}

void TrainContext::report_event(std::string_view kind, std::string_view reason, const Json& fields) {
  send("event", {{"event", kind}, {"reason", reason}, {"fields", fields}});
}

void TrainContext::set_result(const Json& result) {
  send("result", {{"result", result}});
}

void TrainContext::set_stopped(std::int64_t step) {
  send("stopped", {{"step", step}});
}

void TrainContext::send(std::string_view kind, Json message) {
  message["kind"] = kind;
  member_.send(to_line(message));
}

}  // namespace mobula::train
