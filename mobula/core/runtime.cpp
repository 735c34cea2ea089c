#include "mobula/core/runtime.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string_view>

#include "mobula/base/files.hpp"
#include "mobula/base/log.hpp"
#include "mobula/base/memory_limit.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/base/processors.hpp"
#include "mobula/base/size.hpp"
#include "mobula/base/subprocess.hpp"
#include "mobula/core/gang.hpp"
#include "mobula/core/local/process_worker.hpp"
#include "mobula/core/local/worker_engine.hpp"
#include "mobula/core/local/worker_process.hpp"
#include "mobula/core/ray/ray_worker.hpp"
#include "mobula/core/state.hpp"
#include "mobula/core/state_server.hpp"

namespace mobula {
namespace {

std::atomic<Runtime*> current_runtime{nullptr};

struct Setting {
  const char* flag;
  const char* environment;
  void (*apply)(RuntimeOptions& options, const std::string& value);
};

const Setting kSettings[] = {
    {"--engine", "MOBULA_ENGINE", [](RuntimeOptions& options, const std::string& value) { options.engine = value; }},
    {"--isolation", "MOBULA_ISOLATION",
     [](RuntimeOptions& options, const std::string& value) {
       if (value != "thread" && value != "process") {
         throw_invalid(fmt::format("isolation '{}' is unknown", value), "choose thread or process");
       }
       options.isolation = value == "process" ? Isolation::process : Isolation::thread;
     }},
    {"--num-cpus", "MOBULA_NUM_CPUS",
     [](RuntimeOptions& options, const std::string& value) {
       char* end = nullptr;
       const long number = std::strtol(value.c_str(), &end, 10);
       if (value.empty() || *end != '\0' || number < 1 || number > 1024) {
         throw_invalid(fmt::format("number of processors '{}' is out of range", value),
                       "give a number between 1 and 1024");
       }
       options.num_cpus = static_cast<int>(number);
     }},
    {"--memory", "MOBULA_MEMORY",
     [](RuntimeOptions& options, const std::string& value) { options.memory = parse_size(value); }},
    {"--spill-dir", "MOBULA_SPILL_DIR",
     [](RuntimeOptions& options, const std::string& value) { options.spill_dir = value; }},
    {"--spill-quota", "MOBULA_SPILL_QUOTA",
     [](RuntimeOptions& options, const std::string& value) { options.spill_quota = parse_size(value); }},
    {"--timeline", "MOBULA_TIMELINE",
     [](RuntimeOptions& options, const std::string& value) { options.timeline = value; }},
    {"--metrics-port", "MOBULA_METRICS_PORT",
     [](RuntimeOptions& options, const std::string& value) {
       const auto end = value.data() + value.size();
       const auto read = std::from_chars(value.data(), end, options.metrics_port);
       if (read.ec != std::errc() || read.ptr != end) {
         throw_invalid(fmt::format("port '{}' for metrics is no number", value), "give a number between 1 and 65535");
       }
     }},
    {"--log-format", "MOBULA_LOG_FORMAT",
     [](RuntimeOptions& /*options*/, const std::string& value) {
       set_log_format(parse_log_format(value));
       setenv("MOBULA_LOG_FORMAT", value.c_str(), 1);  // for worker processes
     }},
};

RuntimeOptions read_settings(int& argc, char** argv) {
  RuntimeOptions options;
  for (const Setting& setting : kSettings) {
    const char* value = std::getenv(setting.environment);
    if (value != nullptr && *value != '\0') setting.apply(options, value);
  }
  int kept = 0;
  for (int i = 0; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const Setting* found = nullptr;
    std::string value;
    // What stands after "--" is the program's own.
    if (argument == "--") {
      while (i < argc) argv[kept++] = argv[i++];
      break;
    }
    for (const Setting& setting : kSettings) {
      const std::string_view flag = setting.flag;
      if (argument == flag) {
        if (i + 1 >= argc) throw_invalid(fmt::format("{} needs a value", flag));
        found = &setting;
        value = argv[++i];
      } else if (argument.starts_with(flag) && argument.size() > flag.size() && argument[flag.size()] == '=') {
        found = &setting;
        value = argument.substr(flag.size() + 1);
      }
    }
    if (found == nullptr) {
      argv[kept++] = argv[i];
    } else {
      found->apply(options, value);
    }
  }
  if (kept < argc) argv[kept] = nullptr;
  argc = kept;
  return options;
}

/// A worker process's own runtime, made when a task in it first asks. On Ray it is the cluster's.
Runtime& worker_runtime() {
  static Runtime* const runtime =
      worker_site() == nullptr
          ? new Runtime(RuntimeOptions{.engine = in_ray_worker() ? "ray://worker" : "local", .num_cpus = 1})
          : new Runtime(RuntimeOptions{.engine = "worker", .isolation = Isolation::process, .num_cpus = 1});
  return *runtime;
}

}  // namespace

struct Runtime::Names {
  struct Named {
    ActorCore* core = nullptr;  ///< null: being made
    std::string type;
  };
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, Named> actors;
};

void RuntimeOptions::validate() const {
  if (num_cpus < 0 || num_cpus > 1024) {
    throw_invalid(fmt::format("num_cpus is {}", num_cpus), "give a number between 1 and 1024, or 0 for all there are");
  }
  if (metrics_port < 0 || metrics_port > 65535) {
    throw_invalid(fmt::format("metrics_port is {}", metrics_port), "give a number between 1 and 65535, or 0 for none");
  }
  if (num_gpus < 0) throw_invalid(fmt::format("num_gpus is {}", num_gpus), "it can't be negative");
  if (spill_quota != 0 && spill_dir.empty()) {
    throw_invalid(fmt::format("spill_quota is {}, but no folder to spill to is named", format_size(spill_quota)),
                  "name one with --spill-dir (MOBULA_SPILL_DIR), or leave --spill-quota out");
  }
  for (const auto& [name, amount] : resources) {
    if (amount < 0) throw_invalid(fmt::format("resource '{}' is {}", name, amount), "it can't be negative");
    if (name == "cpu" || name == "gpu") {
      throw_invalid(fmt::format("resource '{}' has a setting of its own", name), "use num_cpus or num_gpus");
    }
  }
}

Runtime::Runtime(int& argc, char** argv) {
  if (!worker_served()) serve_if_worker();
  options_ = read_settings(argc, argv);
  start();
}

Runtime::Runtime(RuntimeOptions options) : options_(std::move(options)) {
  if (!worker_served()) serve_if_worker();
  start();
}

void Runtime::start() {
  options_.validate();
  refuse_duplicate_functions();
  if (options_.num_cpus == 0) options_.num_cpus = num_processors();
  if (options_.memory == 0) options_.memory = memory_limit() / 2;
  Runtime* none = nullptr;
  if (!current_runtime.compare_exchange_strong(none, this)) {
    throw Error(ErrorCode::already_exists, "this process has a Runtime already",
                "make one Runtime and pass it on, or use Runtime::current()");
  }
  generation_ = runtime_generation.fetch_add(1) + 1;
  try {
    names_ = std::make_unique<Names>();
    engine_ = make_engine(options_);
    const bool keep_events = !options_.timeline.empty();
    if (keep_events || options_.metrics_port != 0) engine_->record(true, keep_events);
    if ((options_.inspectable && !worker_served() && !in_ray_worker()) || options_.metrics_port != 0) {
      server_ = std::make_unique<StateServer>(options_.metrics_port,
                                              [this](std::string_view question) { return answer(question); });
    }
  } catch (...) {
    current_runtime = nullptr;
    throw;
  }
}

Runtime::~Runtime() {
  shutdown();
}

void Runtime::shutdown() {
  if (stopped_) return;
  stopped_ = true;
  server_.reset();
  for (auto& [name, named] : names_->actors) {
    if (named.core != nullptr) named.core->release();
  }
  names_->actors.clear();
  engine_->shutdown();
  if (!options_.timeline.empty()) {
    try {
      write_file_atomic(options_.timeline, engine_->timeline());
    } catch (const std::exception& error) {
      log_error("the timeline could not be written: {}", error.what());
    }
  }
  Runtime* self = this;
  current_runtime.compare_exchange_strong(self, nullptr);
}

RuntimeState Runtime::state() const {
  RuntimeState state;
  state.program = std::filesystem::path(program_path()).filename();
  state.pid = getpid();
  state.engine = engine_->name();
  state.uptime_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  engine_->fill_state(state.tasks);
  ActorCore::for_each(engine_.get(), [&](ActorCore& actor) {
    const std::string& own = actor.options().name;
    state.actors.push_back({.name = own.empty() ? actor.title() : own,
                            .title = actor.title(),
                            .where = actor.place(),
                            .alive = actor.alive(),
                            .num_groups = static_cast<int>(actor.options().groups.size())});
  });
  state.nodes = engine_->nodes();
  return state;
}

std::string Runtime::answer(std::string_view question) {
  const bool always = !options_.timeline.empty() || options_.metrics_port != 0;
  if (question == "nobody") {
    if (!always) engine_->record(false, false);
    return {};
  }
  if (question == "metrics") return to_prometheus(state());
  if (!always || question == "timeline") engine_->record(true, question == "timeline");
  if (question == "timeline") return engine_->timeline();
  if (question == "state") return to_line(to_json(state()));
  return to_line(Json{{"error", "ask for state, metrics or timeline"}});
}

Runtime& Runtime::current() {
  if (Runtime* runtime = current_runtime.load(std::memory_order_acquire)) return *runtime;
  if (worker_served() || in_ray_worker()) return worker_runtime();
  throw Error(ErrorCode::unavailable, "there is no Runtime in this process", "make one in main()");
}

bool Runtime::cancelled() noexcept {
  const Task* task = current_task();
  return task != nullptr ? task->cancel_requested() : worker_task_cancelled();
}

void Runtime::throw_stopped() {
  throw Error(ErrorCode::unavailable, "the Runtime has been shut down", "do this before shutdown()");
}

void throw_absent(const Object* object) {
  if (object == nullptr) {
    throw_invalid("this Ref points at nothing: it was default-made or moved from",
                  "use the Ref that remote() returned");
  }
  throw_invalid("this Ref belongs to another Runtime", "use it with the Runtime that made it");
}

void Runtime::await_slowly(Object& object, std::chrono::nanoseconds timeout) const {
  if (stopped_) throw_stopped();
  if (wait_ready(object, timeout)) return;
  const Task* task = object.task();
  throw TimeoutError(fmt::format("{} was not done within {}", task == nullptr ? "an object" : task->display_name(),
                                 format_duration(timeout)),
                     "wait longer, or cancel() it");
}

bool Runtime::cancel_object(Object* object, Cancel how) {
  Task* task = object->task();
  return task != nullptr && engine()->cancel(task, how);
}

PlacementGroup Runtime::placement_group(std::vector<Bundle> bundles, PlacementOptions options) {
  if (bundles.empty()) throw_invalid("a placement group without bundles", "give it at least one");
  auto reservation = engine()->reserve(bundles, options);
  return {std::move(reservation), std::move(bundles)};
}

void Runtime::reserve_name(const ActorOptions& options) {
  if (options.name.empty()) {
    if (options.detached) throw_invalid("a detached actor needs a name", "without one nobody could find it again");
    return;
  }
  if (engine()->remote()) {
    throw Error(ErrorCode::unsupported, fmt::format("actor '{}' would get its name in a worker process", options.name),
                "make named actors in the program itself and find them with find_actor(), or pass the handle on");
  }
  ActorCore* dead = nullptr;
  {
    std::lock_guard lock(names_->mutex);
    auto& actors = names_->actors;
    const auto [found, fresh] = actors.try_emplace(options.name);
    if (fresh) return;
    if (found->second.core == nullptr || found->second.core->alive()) {
      throw Error(ErrorCode::already_exists, fmt::format("an actor named '{}' exists already", options.name),
                  "find_actor() returns it, get_or_create() does so or makes it; kill it first to make another");
    }
    dead = std::exchange(found->second.core, nullptr);
  }
  dead->release();
}

void Runtime::free_name(const ActorOptions& options) noexcept {
  if (options.name.empty()) return;
  std::lock_guard lock(names_->mutex);
  names_->actors.erase(options.name);
  names_->changed.notify_all();
}

void Runtime::register_actor(ActorCore* core, const std::string& type) {
  if (core->options().name.empty()) return;
  std::lock_guard lock(names_->mutex);
  core->retain();
  names_->actors[core->options().name] = {core, type};
  names_->changed.notify_all();
}

ActorCore* Runtime::find_actor_core(const std::string& name, const std::string& type, bool reserve) {
  if (reserve && name.empty()) throw_invalid("get_or_create() needs a name", "set ActorOptions::name");
  if (engine()->remote()) return engine()->find_program_actor(name, type);
  ActorCore* dead = nullptr;
  std::unique_lock lock(names_->mutex);
  auto found = names_->actors.find(name);
  // Somebody else is making it just now.
  while (found != names_->actors.end() && found->second.core == nullptr) {
    names_->changed.wait(lock);
    found = names_->actors.find(name);
  }
  if (reserve && found != names_->actors.end() && !found->second.core->alive()) {
    dead = std::exchange(found->second.core, nullptr);
    lock.unlock();
    dead->release();
    return nullptr;
  }
  if (found == names_->actors.end()) {
    if (reserve) {
      names_->actors.try_emplace(name);
      return nullptr;
    }
    lock.unlock();
    if (ActorCore* elsewhere = engine_->find_actor(name)) return elsewhere;
    lock.lock();
    std::vector<std::string> known;
    for (const auto& [other, named] : names_->actors) known.push_back(other);
    throw Error(ErrorCode::not_found, fmt::format("there is no actor named '{}'", name), suggest(name, known));
  }
  if (found->second.type != type) {
    throw_invalid(fmt::format("actor '{}' is a {}, not a {}", name, found->second.type, type),
                  "ask for it by its own class");
  }
  found->second.core->retain();
  return found->second.core;
}

void Runtime::forget_name(ActorCore* core) {
  {
    std::lock_guard lock(names_->mutex);
    const auto found = names_->actors.find(core->options().name);
    if (found == names_->actors.end() || found->second.core != core) return;
    names_->actors.erase(found);
  }
  core->release();
}

void Runtime::kill_core(ActorCore* core) {
  engine()->kill(core);
  forget_name(core);
}

void Runtime::stop_core(ActorCore* core, Task* end) {
  /// Kills the actor once its object is gone, so that later calls fail.
  struct KillAfter : Waiter {
    explicit KillAfter(ActorCore* target) : core(target) {
      core->retain();
      notify = [](Waiter* self) {
        auto* after = static_cast<KillAfter*>(self);
        after->core->engine()->kill(after->core);
        after->core->release();
        delete after;
      };
    }
    ActorCore* core;
  };
  auto* after = new KillAfter(core);
  end->add_waiter(*after);  // it has not been sent, so it can't be ready
  forget_name(core);
  engine()->call(core, end);
}

}  // namespace mobula
