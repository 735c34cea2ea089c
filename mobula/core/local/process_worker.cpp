#include "mobula/core/local/process_worker.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <mutex>
#include <thread>
#include <vector>

#include "mobula/base/size.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/function.hpp"
#include "mobula/core/local/frames.hpp"
#include "mobula/core/local/futex.hpp"
#include "mobula/core/local/shared_arena.hpp"
#include "mobula/core/local/task_channel.hpp"
#include "mobula/core/local/worker_engine.hpp"
#include "mobula/core/recorder.hpp"
#include "mobula/core/runtime.hpp"

namespace mobula {
namespace {

/// How long a worker looks for the next call before it sleeps.
constexpr auto kSpinTime = std::chrono::microseconds(50);

thread_local const TaskSlot* running_slot = nullptr;

/// Bytes of an argument where they lie; the driver keeps them for as long as the call runs, and longer where the worker
/// reports at its end that they are still looked at.
class BorrowedBytes final : public StoredBytes, public std::enable_shared_from_this<BorrowedBytes> {
 public:
  /// `id` 0: they lie in the call itself.
  BorrowedBytes(std::string_view bytes, std::uint64_t id, WorkerEngine& engine)
      : bytes_(bytes), id_(id), engine_(engine) {}
  ~BorrowedBytes() override {
    if (counted) engine_.send_id(FromWorker::release, id_);
  }
  PinnedBytes pin() const override { return {bytes_, shared_from_this()}; }
  std::size_t size() const noexcept override { return bytes_.size(); }
  std::uint64_t id() const noexcept { return id_; }
  bool counted = false;  ///< the main process counts them as looked at

 private:
  std::string_view bytes_;
  std::uint64_t id_;
  WorkerEngine& engine_;
};

class ArenaArguments final : public ArgumentReader {
 public:
  ArenaArguments(const SharedArena& arena, std::string_view bytes, WorkerEngine& engine)
      : ArgumentReader(bytes), arena_(arena), engine_(engine) {}
  std::shared_ptr<const StoredBytes> reference() override {
    const auto offset = in.number<std::uint64_t>();
    if (offset == 0) return std::make_shared<const HeapBytes>(std::string(in.text()));
    const auto size = in.number<std::uint64_t>();
    const auto id = in.number<std::uint64_t>();
    auto borrowed = std::make_shared<BorrowedBytes>(std::string_view(arena_.at(offset), size), id, engine_);
    references_.push_back(borrowed);
    return borrowed;
  }
  void finished() override { WorkerEngine::end_arguments(); }
  /// Adds the numbers of the arguments that are still looked at, now that the call is over.
  void report(std::vector<std::uint64_t>& borrowed) {
    for (const auto& reference : references_) {
      const auto alive = reference.lock();
      if (alive == nullptr) continue;
      alive->counted = true;
      borrowed.push_back(alive->id() | kPinnedHandle);
    }
  }

 private:
  const SharedArena& arena_;
  WorkerEngine& engine_;
  std::vector<std::weak_ptr<BorrowedBytes>> references_;
};

/// Writes a result into its call's slot, or, where that is too small, straight into the arena.
class ResultWriter final : public WireWriter, private HandleWriter {
 public:
  ResultWriter(SharedArena& arena, TaskSlot& slot, WorkerEngine& engine) : arena_(arena), slot_(slot), engine_(engine) {
    set_handles(this);
  }
  ~ResultWriter() override {
    for (Object* object : objects_) object->release();
    for (ActorCore* actor : actors_) actor->release();
  }

  void expect(std::size_t size) override {
    if (size <= TaskSlot::kInlineBytes || reserved_ != 0) return;
    set_aside(size);
    write_into(arena_.at(slot_.result_offset.load(std::memory_order_relaxed)), size);
  }
  /// Shows the driver what was written.
  void finish() {
    if (reserved_ == 0) {
      put(bytes());
    } else {
      slot_.result_size.store(size(), std::memory_order_relaxed);
    }
  }
  /// Shows it an encoded error in place of whatever was written.
  void fail(std::string_view error) {
    if (reserved_ != 0 && error.size() > reserved_) {
      const std::uint64_t offset = slot_.result_offset.exchange(0);
      arena_.free(offset, reserved_);
      reserved_ = 0;
    }
    put(error);
  }

  /// Counts one holder more for each handle in the result, which that takes over.
  void hold_handles() {
    for (const std::uint64_t id : inner_) engine_.send_id(FromWorker::hold, id);
  }
  /// Shows it which handles the worker keeps, and which are in the result.
  void show_handles(const std::vector<std::uint64_t>& borrowed) {
    const std::size_t count = borrowed.size() + inner_.size();
    if (count == 0) return;
    // A few numbers, which must arrive: they may go over the budget.
    const std::uint64_t offset = arena_.try_allocate(count * sizeof(std::uint64_t), true);
    if (offset == 0) throw_internal("the shared address space is used up");
    auto* ids = reinterpret_cast<std::uint64_t*>(arena_.at(offset));
    std::copy(borrowed.begin(), borrowed.end(), ids);
    std::copy(inner_.begin(), inner_.end(), ids + borrowed.size());
    slot_.num_borrowed = static_cast<std::uint32_t>(borrowed.size());
    slot_.num_inner = static_cast<std::uint32_t>(inner_.size());
    slot_.handles_offset.store(offset, std::memory_order_release);
  }

 private:
  std::uint64_t add(Object& object) override {
    // Kept until the result has been shown: then the driver holds them for it.
    object.retain();
    objects_.push_back(&object);
    return inner_.emplace_back(engine_.number(object));
  }
  std::uint64_t add(ActorCore& actor) override {
    actor.retain();
    actors_.push_back(&actor);
    return inner_.emplace_back(engine_.number(actor));
  }
  void set_aside(std::size_t size) {
    std::uint64_t offset = arena_.try_allocate(size);
    // The driver moves others out of the way, or says why it can't.
    const bool asked = offset == 0;
    if (asked) offset = engine_.allocate(size);
    slot_.result_reserved.store(size, std::memory_order_relaxed);
    slot_.result_offset.store(offset, std::memory_order_release);
    if (asked) engine_.send_id(FromWorker::took, offset);
    reserved_ = size;
  }
  void put(std::string_view bytes) {
    slot_.result_size.store(bytes.size(), std::memory_order_relaxed);
    char* to = slot_.bytes;
    if (reserved_ == 0 && bytes.size() > TaskSlot::kInlineBytes) set_aside(bytes.size());
    if (reserved_ != 0) to = arena_.at(slot_.result_offset.load(std::memory_order_relaxed));
    if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
  }

  SharedArena& arena_;
  TaskSlot& slot_;
  WorkerEngine& engine_;
  std::size_t reserved_ = 0;  ///< bytes set aside in the arena
  std::vector<std::uint64_t> inner_;
  std::vector<Object*> objects_;
  std::vector<ActorCore*> actors_;
};

class Worker {
 public:
  Worker(const TaskWorkerStart& start, int socket)
      : id_(start.worker),
        arena_(Descriptor(start.shared_memory)),
        control_(*reinterpret_cast<SharedControl*>(arena_.at(SharedArena::kPage))),
        channel_(*reinterpret_cast<TaskChannel*>(arena_.at(start.channel))) {
    site_.socket = socket;
    site_.serial = start.serial;
    site_.arena = &arena_;
    site_.lends = start.lends;
    site_.run_here = [this](std::uint64_t id) {
      TaskSlot* slot = site_.lends ? channel_.claim_call(id, id_) : nullptr;
      if (slot != nullptr) run(*slot);
      return slot != nullptr;
    };
    site_.caller = [] { return running_name_; };
    set_worker_site(&site_);
    engine_ = static_cast<WorkerEngine*>(Runtime::current().engine());
  }

  /// Runs calls on so many threads; more than one only for actors whose calls may run at once.
  [[noreturn]] void run(std::uint32_t num_threads) {
    several_ = num_threads > 1;
    for (std::uint32_t thread = 1; thread < num_threads; ++thread) std::thread([this] { run(); }).detach();
    run();
  }

 private:
  [[noreturn]] void run() {
    for (;;) {
      park_if_surplus();
      TaskSlot* slot = channel_.claim(id_);
      if (slot == nullptr) slot = wait();
      if (slot != nullptr) run(*slot);
    }
  }

  /// Others wait no longer, and there are more of us than processors: one sleeps until it is needed again.
  void park_if_surplus() {
    std::uint32_t surplus = channel_.surplus.load(std::memory_order_acquire);
    while (surplus != 0) {
      if (!channel_.surplus.compare_exchange_weak(surplus, surplus - 1)) continue;
      std::atomic<std::uint32_t>& parked = control_.parked[id_];
      parked.store(1, std::memory_order_seq_cst);
      channel_.pass_on();  // what woke us may have been a call
      while (parked.load(std::memory_order_acquire) != 0) {
        futex_wait(parked, 1, std::chrono::nanoseconds(-1), FutexScope::shared);
      }
      surplus = channel_.surplus.load(std::memory_order_acquire);
    }
  }

  TaskSlot* wait() {
    TaskSlot* slot = nullptr;
    std::uint32_t nobody = 0;
    if (channel_.spinner.compare_exchange_strong(nobody, id_)) {
      const auto end = std::chrono::steady_clock::now() + kSpinTime;
      for (int round = 1; slot == nullptr; ++round) {
        slot = channel_.claim(id_);
        spin_pause();
        if (round % 16 == 0 && std::chrono::steady_clock::now() > end) break;
      }
      channel_.spinner.store(0, std::memory_order_seq_cst);
    }
    if (slot == nullptr) {
      const std::uint32_t seen = channel_.doorbell.load(std::memory_order_seq_cst);
      channel_.num_sleeping.fetch_add(1, std::memory_order_seq_cst);
      if (channel_.empty()) futex_wait(channel_.doorbell, seen, std::chrono::nanoseconds(-1), FutexScope::shared);
      channel_.num_sleeping.fetch_sub(1, std::memory_order_seq_cst);
      slot = channel_.claim(id_);
    }
    // However many calls came while somebody was looking, they woke nobody: who takes the first wakes the next one.
    if (slot != nullptr) channel_.pass_on();
    return slot;
  }

  const FunctionEntry& function(std::uint32_t index) {
    static thread_local std::vector<const FunctionEntry*> known;
    if (index >= known.size()) known.resize(index + 1);
    if (known[index] != nullptr) return *known[index];
    const SharedFunction& shared = control_.functions[index];
    const std::string_view text(arena_.at(shared.offset), shared.size);
    const std::string path(text.substr(0, text.find('\0')));
    const std::string_view key = text.substr(path.size() + 1);
    const FunctionEntry* found = find_function(key);
    if (found == nullptr && !path.empty() && dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) {
      found = find_function(key);
    }
    if (found == nullptr) {
      throw Error(ErrorCode::not_found, fmt::format("the worker process does not know the function '{}'", key),
                  "make the Runtime in main(), so that the worker loads what the program loads");
    }
    known[index] = found;
    return *found;
  }

  void run(TaskSlot& slot) {
    const TaskSlot* outer_slot = std::exchange(running_slot, &slot);
    std::string outer_name = std::move(running_name_);
    WorkerEngine::CallNotes notes = engine_->begin_call();
    ResultWriter result(arena_, slot, *engine_);
    const std::string_view bytes(slot.offset == 0 ? slot.bytes : arena_.at(slot.offset), slot.size);
    ArenaArguments arguments(arena_, bytes, *engine_);
    bool succeeded = false;
    bool constructing = false;
    const bool recorded = control_.recording.load(std::memory_order_relaxed) != 0;
    if (recorded) slot.begin.store(Recorder::now(), std::memory_order_relaxed);
    std::vector<std::string> names;
    try {
      const FunctionEntry& entry = function(slot.function);
      running_name_ = outer_name.empty() ? entry.name : fmt::format("{}, called by {}", entry.name, outer_name);
      if (const std::string_view caller = arguments.in.text(); !caller.empty()) {
        running_name_ = fmt::format("{}, called by {}", entry.name, caller);
      }
      for (auto left = arguments.in.number<std::uint32_t>(); left > 0; --left) {
        const std::string name(arguments.in.text());
        setenv(name.c_str(), std::string(arguments.in.text()).c_str(), 1);
        names.push_back(name);
      }
      constructing = entry.destroy_actor != nullptr;
      // After a restart, calls that ran before may be handed out while the object is being made.
      if (several_ && !constructing) await_object();
      // Where the constructor failed there is no object for the calls that were queued behind it.
      if (construction_error_ != nullptr && !constructing) std::rethrow_exception(construction_error_);
      entry.run_encoded(arguments, result, &actor_);
      if (entry.ends_actor) construction_error_ = std::make_exception_ptr(ended());
      result.finish();
      succeeded = true;
    } catch (...) {
      const std::exception_ptr failure = capture_task_failure();
      if (constructing) construction_error_ = failure;
      fail(result, failure);
    }
    if (several_ && constructing) object_made();
    for (const std::string& name : names) unsetenv(name.c_str());
    if (recorded) slot.end.store(Recorder::now(), std::memory_order_relaxed);
    result.hold_handles();
    std::vector<std::uint64_t> borrowed = engine_->report_call(notes, slot.num_frames);
    arguments.report(borrowed);
    result.show_handles(borrowed);
    running_slot = outer_slot;
    running_name_ = std::move(outer_name);
    std::cout.flush();
    std::fflush(stdout);
    const std::uint64_t state = slot.state.load(std::memory_order_relaxed);
    slot.state.store(
        TaskSlot::pack(TaskSlot::turn_of(state), id_, succeeded ? SlotState::succeeded : SlotState::failed),
        std::memory_order_release);
    const auto index = static_cast<std::size_t>(&slot - channel_.slots);
    channel_.done[index / 64].fetch_or(std::uint64_t{1} << (index % 64), std::memory_order_seq_cst);
    control_.completions.fetch_add(1, std::memory_order_seq_cst);
    if (control_.num_polling.load(std::memory_order_seq_cst) == 0) {
      futex_wake(&control_.completions, 1, FutexScope::shared);
    }
    WorkerEngine::end_call(notes);
  }

  void await_object() {
    std::unique_lock lock(object_mutex_);
    object_changed_.wait(lock, [&] { return object_made_; });
  }
  void object_made() {
    std::lock_guard lock(object_mutex_);
    object_made_ = true;
    object_changed_.notify_all();
  }

  static WorkerDiedError ended() {
    return {"the actor has ended", 0, 0, {}, "make a new one, or don't stop it while others call it"};
  }

  static void fail(ResultWriter& result, const std::exception_ptr& failure) {
    try {
      result.fail(encode_error(failure));
    } catch (...) {
      // Not even the error has room in the arena: a short one fits into the slot.
      result.fail(encode_error(std::make_exception_ptr(
          OutOfMemoryError("the memory for objects is full, and so is the room for a task's error",
                           "drop Refs you no longer need, or raise --memory (MOBULA_MEMORY)"))));
    }
  }

  std::uint32_t id_;
  SharedArena arena_;
  SharedControl& control_;
  TaskChannel& channel_;
  void* actor_ = nullptr;
  std::exception_ptr construction_error_;
  bool several_ = false;  ///< threads; the object is made before any of them may use it
  std::mutex object_mutex_;
  std::condition_variable object_changed_;
  bool object_made_ = false;
  WorkerSite site_;
  WorkerEngine* engine_ = nullptr;
  static thread_local std::string running_name_;  ///< of the running call, and who called it
};

thread_local std::string Worker::running_name_;

}  // namespace

std::string encode(const TaskWorkerStart& start) {
  WireWriter out;
  out.text(start.name);
  out.number(start.shared_memory);
  out.number(start.channel);
  out.number(start.worker);
  out.number(start.num_threads);
  out.number(start.serial);
  out.number(start.lends);
  return out.take();
}

TaskWorkerStart decode_task_worker_start(std::string_view bytes) {
  WireReader in(bytes);
  TaskWorkerStart start;
  start.name = in.text();
  start.shared_memory = in.number<int>();
  start.channel = in.number<std::uint64_t>();
  start.worker = in.number<std::uint32_t>();
  start.num_threads = in.number<std::uint32_t>();
  start.serial = in.number<std::uint32_t>();
  start.lends = in.number<bool>();
  return start;
}

bool worker_task_cancelled() noexcept {
  return running_slot != nullptr && running_slot->cancelled.load(std::memory_order_relaxed) != 0;
}

void serve_task_worker(int socket) {
  FrameReader reader;
  std::optional<Frame> first;
  while (!(first = reader.next())) {
    if (!reader.fill(socket, true)) _exit(1);
  }
  const TaskWorkerStart start = decode_task_worker_start(first->payload);
  Worker(start, socket).run(start.num_threads);
}

}  // namespace mobula
