#include "mobula/train/run/trainer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <optional>

#include "mobula/base/error.hpp"
#include "mobula/base/log.hpp"
#include "mobula/base/progress.hpp"
#include "mobula/track/run.hpp"
#include "mobula/train/run/rank_processes.hpp"
#include "mobula/train/run/run_folder.hpp"

namespace mobula::train {
namespace {

using namespace std::chrono_literals;

/// How often the driver looks whether it was asked to stop; deaths and messages wake it at once.
constexpr auto kSignalInterval = 100ms;

std::atomic<int> stop_signals{0};

/// Counts SIGINT and SIGTERM while it lives.
class SignalCounter {
 public:
  SignalCounter() {
    stop_signals = 0;
    struct sigaction action {};
    action.sa_handler = [](int) { ++stop_signals; };
    ::sigaction(SIGINT, &action, &old_interrupt_);
    ::sigaction(SIGTERM, &action, &old_terminate_);
  }
  SignalCounter(const SignalCounter&) = delete;
  SignalCounter& operator=(const SignalCounter&) = delete;
  ~SignalCounter() {
    ::sigaction(SIGINT, &old_interrupt_, nullptr);
    ::sigaction(SIGTERM, &old_terminate_, nullptr);
  }

 private:
  struct sigaction old_interrupt_ {};
  struct sigaction old_terminate_ {};
};

std::string describe_death(const GangEvent& event) {
  if (event.rank < 0) return "the ranks' node is gone: " + event.payload;
  const std::string rank = fmt::format("rank {}", event.rank);
  if (event.signal != 0) {
    return fmt::format("{} was ended by signal {} ({})", rank, event.signal, ::strsignal(event.signal));
  }
  return fmt::format("{} exited with code {}", rank, event.exit_code);
}

}  // namespace

/// Watches one gang after the other and keeps what they report.
struct Trainer::Watch {
  Watch(const RunOptions& run_options)
      : options(run_options),
        events(RunFolder{run_options.directory}.events()),
        progress("training", static_cast<std::uint64_t>(run_options.steps)) {}

  void handle(const std::string& message);
  void record(std::int64_t step, const Json& values);
  void event(std::string_view kind, std::string_view reason, const Json& fields = Json::object());

  const RunOptions& options;
  LineFile events;
  Progress progress;
  std::int64_t step = 0;
  std::int64_t highest_step = 0;
  std::optional<Json> result;
  std::optional<std::int64_t> stopped_at;
};

void Trainer::Watch::event(std::string_view kind, std::string_view reason, const Json& fields) {
  Json line = {{"time", unix_time()}, {"event", kind}, {"step", step}, {"reason", reason}};
  line.update(fields);
  try {
    events.append(line);
  } catch (const Error& error) {
    // On a full disk the run matters more than its diary.
    log_warning("{}", error.message());
  }
}

void Trainer::Watch::record(std::int64_t at, const Json& values) {
  if (options.tracker == nullptr) return;
  for (const auto& [name, value] : values.items()) {
    if (value.is_number()) options.tracker->log_metric(name, at, value.get<double>());
  }
}

void Trainer::Watch::handle(const std::string& message) {
  const Json json = parse_json(message, "a worker's message");
  const std::string kind = json.at("kind");
  if (kind == "step") {
    step = json.at("step");
    highest_step = std::max(highest_step, step);
    const Json& values = json.at("values");
    record(step, values);
    const Json loss = values.value("loss", Json());
    const Json speed = values.value("tokens_per_s", Json());
    std::string note = loss.is_number() ? fmt::format("loss {:.4f}", loss.get<double>()) : "";
    if (speed.is_number()) note += fmt::format("  {:.0f} tok/s", speed.get<double>());
    progress.update(static_cast<std::uint64_t>(step), note);
  } else if (kind == "values") {
    const Json& values = json.at("values");
    record(json.at("step"), values);
    for (const auto& [name, value] : values.items()) {
      if (!value.is_number()) continue;
      progress.clear();
      log_info("step {}: {} {:.4f}", json.at("step").get<std::int64_t>(), name, value.get<double>());
    }
  } else if (kind == "resumed") {
    step = json.at("step");
    if (options.tracker != nullptr) options.tracker->truncate_metrics(step);
    progress.clear();
    log_info("going on after step {}", step);
  } else if (kind == "event") {
    progress.clear();
    log_warning("{}: {}", json.at("event").get<std::string>(), json.at("reason").get<std::string>());
    event(json.at("event").get<std::string>(), json.at("reason").get<std::string>(), json.at("fields"));
  } else if (kind == "result") {
    result = json.at("result");
  } else if (kind == "stopped") {
    stopped_at = json.at("step");
  }
}

Trainer::Trainer(TrainFunction function, ScalingConfig scaling, RunOptions options)
    : function_(function), scaling_(scaling), options_(std::move(options)) {
  scaling_.validate();
}

Trainer::~Trainer() = default;

Json Trainer::fit() {
  std::filesystem::create_directories(options_.directory);
  const RunFolder folder{options_.directory};
  const std::unique_ptr<RankProcesses> ranks = make_rank_processes(options_.runtime);
  const SignalCounter signals;
  Watch watch(options_);
  std::int64_t step_at_last_death = -1;
  int restarts_in_place = 0;
  for (;;) {
    const RankPlace place =
        ranks->start({.function = locate_code(reinterpret_cast<const void*>(function_)),
                      .directory = std::filesystem::absolute(options_.directory).lexically_normal().string(),
                      .argument = options_.argument,
                      .workers = scaling_.workers,
                      .threads = scaling_.threads,
                      .restarts = restarts_,
                      .environment = options_.environment});
    write_workers(folder.workers(), place.pids, place.host);

    int signals_passed_on = 0;
    std::optional<GangEvent> end;
    while (!end) {
      auto event = ranks->next_event(kSignalInterval);
      if (event && event->kind == GangEvent::Kind::message) {
        watch.handle(event->payload);
      } else if (event && event->kind != GangEvent::Kind::finished) {
        end = std::move(event);
      } else if (!event && !ranks->running()) {
        break;
      }
      if (const int count = stop_signals; count > signals_passed_on) {
        signals_passed_on = count;
        if (count > 1) break;
        watch.progress.clear();
        log_info("stopping: the workers save their state (once more: stop at once)");
        for (int rank = 0; rank < scaling_.workers; ++rank) ranks->send(rank, "stop");
      }
    }
    ranks->kill();

    if (!end && watch.result && !watch.stopped_at) {
      watch.progress.update(static_cast<std::uint64_t>(watch.step));
      Json result = *watch.result;
      result["restarts"] = restarts_;
      return result;
    }
    if (signals_passed_on > 0 || watch.stopped_at) {
      watch.event("stopped", "on request");
      throw Error(
          ErrorCode::interrupted,
          watch.stopped_at
              ? fmt::format("stopped after step {}, state saved in {}", *watch.stopped_at, options_.directory.string())
              : fmt::format("stopped at once, the last checkpoint is in {}", options_.directory.string()),
          "the same command with --resume goes on");
    }
    if (!end) throw_internal("the workers ended without a result");
    if (end->kind == GangEvent::Kind::failed) {
      // An exception would come again.
      watch.event("failed", end->payload, {{"rank", end->rank}});
      throw Error(static_cast<ErrorCode>(end->error_code), end->payload, end->hint)
          .with_context(fmt::format("rank {} of {}", end->rank, scaling_.workers));
    }

    const std::string death = describe_death(*end);
    restarts_in_place = watch.highest_step > step_at_last_death ? 1 : restarts_in_place + 1;
    step_at_last_death = watch.highest_step;
    if (restarts_in_place > scaling_.max_restarts) {
      watch.event("gave_up", death, {{"rank", end->rank}});
      throw Error(
          ErrorCode::worker_died,
          fmt::format("{} at step {}, after {} restarts without a new step{}", death, watch.step, restarts_in_place - 1,
                      end->last_stderr.empty() ? "" : "; its last lines:\n" + end->last_stderr),
          end->signal == SIGKILL ? "signal 9 is often the system running out of memory: see dmesg"
                                 : "scaling.max_restarts says how often to try again");
    }
    ++restarts_;
    watch.progress.clear();
    log_warning("{} at step {}: starting {} worker{} again", death, watch.step, scaling_.workers,
                scaling_.workers == 1 ? "" : "s");
    watch.event("restart", death,
                {{"rank", end->rank}, {"signal", end->signal}, {"exit_code", end->exit_code}, {"restarts", restarts_}});
  }
}

}  // namespace mobula::train
