#include "mobula/train/run/rank_processes.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <filesystem>

#include "mobula/base/error.hpp"
#include "mobula/base/log.hpp"
#include "mobula/base/processors.hpp"
#include "mobula/base/subprocess.hpp"
#include "mobula/core/runtime.hpp"
#include "mobula/train/run/context.hpp"
#include "mobula/train/run/rank_start.hpp"
#include "mobula/train/run/trainer.hpp"

extern char** environ;

namespace mobula::train {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

/// Address space for what the ranks share: pages take memory only once they are written.
std::size_t shared_bytes() {
  const auto pages = static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES));
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return pages * page / 2;
}

std::string host_name() {
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  return host;
}

/// What a rank runs: finds the train function by its place in the program.
void run_rank(GangMember& member) {
  const auto function = reinterpret_cast<TrainFunction>(resolve_code(decode_rank_start(member.argument()).function));
  TrainContext context(member);
  function(context);
}

std::unique_ptr<Gang> start_gang(const RanksStart& start, GangOptions options) {
  const int threads = start.threads > 0 ? start.threads : std::max(1, num_processors() / start.workers);
  options.environment = {
      // Sums come out the same in every run only where the number of threads is fixed.
      {"OMP_NUM_THREADS", std::to_string(threads)},
      {"MKL_NUM_THREADS", std::to_string(threads)},
      {"OMP_DYNAMIC", "FALSE"},
      {"MKL_DYNAMIC", "FALSE"},
      {"MKL_CBWR", "AUTO"},
      // Activations are freed and asked for again in every step: keep their pages, and make them huge.
      {"GLIBC_TUNABLES",
       "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296"},
  };
  options.environment.insert(options.environment.end(), start.environment.begin(), start.environment.end());
  options.name = "rank";
  options.size = start.workers;
  options.shared_bytes = Communicator::reserved_bytes(start.workers) + shared_bytes();
  options.argument = encode(RankStart{.function = start.function,
                                      .directory = start.directory,
                                      .argument = start.argument,
                                      .threads = threads,
                                      .restarts = start.restarts});
  return std::make_unique<Gang>(run_rank, std::move(options));
}

RankPlace place_of(const Gang& gang) {
  RankPlace place{.host = host_name(), .pids = {}};
  for (const pid_t pid : gang.pids()) place.pids.push_back(pid);
  return place;
}

/// Ranks that are children of this process.
class LocalRanks final : public RankProcesses {
 public:
  RankPlace start(const RanksStart& start) override {
    gang_.reset();
    gang_ = start_gang(start, {});
    return place_of(*gang_);
  }
  std::optional<GangEvent> next_event(std::chrono::milliseconds timeout) override { return gang_->next_event(timeout); }
  bool running() override { return gang_->running(); }
  void send(int rank, const std::string& bytes) override { gang_->send(rank, bytes); }
  void kill() override { gang_->kill(); }

 private:
  std::unique_ptr<Gang> gang_;
};

}  // namespace

/// What an actor tells of its ranks.
struct RankNews {
  std::vector<GangEvent> events;
  bool running = false;
};

/// What the ranks need of the driver's surroundings.
struct RankSurroundings {
  std::string program;    ///< path of the driver's program, which the ranks run too
  std::string directory;  ///< the driver's working directory
};

/// The actor whose children the ranks are. Its process ends with the driver's program or its node, and they with it.
class RankHost {
 public:
  explicit RankHost(RankSurroundings surroundings) : surroundings_(std::move(surroundings)) {
    for (const std::string& path : {surroundings_.program, surroundings_.directory}) {
      std::error_code unreadable;
      if (fs::exists(path, unreadable)) continue;
      throw Error(
          ErrorCode::not_found, fmt::format("node {} has no {}", host_name(), path),
          "the nodes need the program, its libraries, the working directory and the run's folder under the same "
          "paths: a folder that all mount, or a container image");
    }
  }

  RankPlace start(const RanksStart& start) {
    gang_.reset();
    gang_ = start_gang(
        start, {.program = surroundings_.program, .directory = surroundings_.directory, .relay_standard_error = true});
    return place_of(*gang_);
  }
  /// Returns what has happened, at the latest after `timeout_ms`.
  RankNews next_events(std::int64_t timeout_ms) {
    RankNews news;
    if (gang_ == nullptr) return news;
    constexpr std::size_t kMostEvents = 1000;
    auto event = gang_->next_event(std::chrono::milliseconds(timeout_ms));
    while (event) {
      news.events.push_back(std::move(*event));
      if (news.events.size() == kMostEvents) break;
      event = gang_->next_event(0ms);
    }
    news.running = gang_->running();
    return news;
  }
  void send(int rank, const std::string& bytes) {
    if (gang_ != nullptr) gang_->send(rank, bytes);
  }
  void kill() {
    if (gang_ != nullptr) gang_->kill();
  }

 private:
  RankSurroundings surroundings_;
  std::unique_ptr<Gang> gang_;
};

namespace {

/// Ranks that are children of an actor.
class RemoteRanks final : public RankProcesses {
 public:
  explicit RemoteRanks(Runtime& runtime) : runtime_(runtime) {}
  RemoteRanks(const RemoteRanks&) = delete;
  RemoteRanks& operator=(const RemoteRanks&) = delete;
  ~RemoteRanks() override {
    try {
      if (host_) runtime_.kill(*host_);
    } catch (const Error& error) {
      log_debug("{}", error.message());
    }
  }

  RankPlace start(const RanksStart& given) override {
    RanksStart start = given;
    // Settings of the driver are those of its ranks, as they are where they are its children.
    for (char** entry = environ; *entry != nullptr; ++entry) {
      const std::string_view text = *entry;
      const auto mark = text.find('=');
      if (!text.starts_with("MOBULA_") || text.starts_with("MOBULA_WORKER=") || mark == std::string_view::npos)
        continue;
      start.environment.emplace_back(text.substr(0, mark), text.substr(mark + 1));
    }
    news_.clear();
    gone_ = false;
    if (!host_) {
      ActorOptions options;
      options.cpus = processors_for(start.workers);
      host_ = runtime_.with(std::move(options))
                  .actor<RankHost>(RankSurroundings{program_path(), fs::current_path().string()});
    }
    const Ref<RankPlace> place = host_->call<&RankHost::start>(start);
    for (bool told = false;;) {
      try {
        const RankPlace found = runtime_.get(place, told ? -1ns : 30s);
        running_ = true;
        return found;
      } catch (const TimeoutError&) {
        log_warning("waiting for a node with {:g} free processors", processors_for(start.workers));
        told = true;
      }
    }
  }

  std::optional<GangEvent> next_event(std::chrono::milliseconds timeout) override {
    const auto end = std::chrono::steady_clock::now() + timeout;
    for (;;) {
      while (!news_.empty()) {
        GangEvent event = std::move(news_.front());
        news_.pop_front();
        if (event.kind != GangEvent::Kind::standard_error) return event;
        std::fwrite(event.payload.data(), 1, event.payload.size(), stderr);
      }
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
      if (!running_ || left.count() < 0) return std::nullopt;
      ask(left);
    }
  }

  bool running() override { return running_; }
  void send(int rank, const std::string& bytes) override {
    if (host_) host_->call<&RankHost::send>(rank, bytes);
  }
  void kill() override {
    if (!host_ || gone_) return;
    try {
      runtime_.get(host_->call<&RankHost::kill>());
    } catch (const Error& error) {
      forget(error);
    }
    running_ = false;
  }

 private:
  /// As many as there are ranks, where any node has that many.
  double processors_for(int workers) const {
    double most = 0;
    for (const NodeInfo& node : runtime_.nodes()) {
      if (node.alive) most = std::max(most, node.total.get("cpu").value());
    }
    return std::min<double>(workers, most);
  }

  void ask(std::chrono::milliseconds timeout) {
    try {
      RankNews news = runtime_.get(host_->call<&RankHost::next_events>(std::int64_t{timeout.count()}));
      for (GangEvent& event : news.events) news_.push_back(std::move(event));
      running_ = news.running;
    } catch (const Error& error) {
      forget(error);
      news_.push_back({.kind = GangEvent::Kind::died, .rank = -1, .payload = error.message()});
    }
  }

  void forget(const Error& error) {
    log_debug("{}", error.message());
    host_.reset();
    running_ = false;
    gone_ = true;
  }

  Runtime& runtime_;
  std::optional<Actor<RankHost>> host_;
  std::deque<GangEvent> news_;
  bool running_ = false;
  bool gone_ = false;
};

}  // namespace

std::unique_ptr<RankProcesses> make_rank_processes(Runtime* runtime) {
  if (runtime == nullptr || !runtime->options().engine.starts_with("ray://")) return std::make_unique<LocalRanks>();
  return std::make_unique<RemoteRanks>(*runtime);
}

}  // namespace mobula::train
