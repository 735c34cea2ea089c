#include "mobula/core/local/worker_engine.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <utility>

#include "mobula/core/actor_core.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/local/store_writer.hpp"
#include "mobula/core/noted_wait.hpp"
#include "mobula/core/task_group.hpp"
#include "mobula/core/value_object.hpp"

namespace mobula {
namespace {

std::atomic<const WorkerSite*> site_of_process{nullptr};
std::atomic<WorkerEngine*> engine_of_process{nullptr};

constexpr int kMaxInlineDepth = 64;
thread_local int inline_depth = 0;

/// An actor that the main process knows.
class RemoteActor final : public ActorCore {
 public:
  RemoteActor(WorkerEngine* engine, ActorOptions options, std::uint64_t number)
      : ActorCore(engine, std::move(options)), id(number) {}
  const std::uint64_t id;

 private:
  void abandon() noexcept override {
    static_cast<WorkerEngine*>(engine())->send_id(FromWorker::release, id);
    delete this;
  }
};

/// Bytes in the arena that the main process may spill while nobody here looks at them.
class WorkerBytes final : public StoredBytes, public std::enable_shared_from_this<WorkerBytes> {
 public:
  /// `offset` 0: not pinned. `counted`: the main process counts these bytes as a holder of the number.
  WorkerBytes(WorkerEngine& engine, SharedArena& arena, std::uint64_t id, std::uint64_t offset, std::size_t size,
              bool counted)
      : engine_(engine), arena_(arena), id_(id), size_(size), counted_(counted), offset_(offset) {}
  ~WorkerBytes() override {
    if (counted_) engine_.send_id(FromWorker::release, id_);
  }
  std::uint64_t id() const noexcept { return id_; }
  std::size_t size() const noexcept override { return size_; }
  PinnedBytes pin() const override {
    std::lock_guard lock(mutex_);
    if (offset_ == 0) offset_ = engine_.pin(id_);
    ++pins_;
    const char* at = arena_.at(offset_);
    std::shared_ptr<const void> keeper(at, [self = shared_from_this()](const void*) { self->unpin(); });
    return {std::string_view(at, size_), std::move(keeper)};
  }

 private:
  void unpin() const noexcept {
    std::lock_guard lock(mutex_);
    if (--pins_ != 0) return;
    offset_ = 0;
    engine_.send_id(FromWorker::unpin, id_);
  }

  WorkerEngine& engine_;
  SharedArena& arena_;
  const std::uint64_t id_;
  const std::size_t size_;
  const bool counted_;
  mutable std::mutex mutex_;
  mutable std::uint64_t offset_;
  mutable std::uint32_t pins_ = 0;
};

/// Encodes a call with the numbers of what it refers to.
class CallWriter final : public ArgumentWriter, public HandleWriter {
 public:
  CallWriter(WorkerEngine& engine, CallMessage& message) : engine_(engine), message_(message) { out.set_handles(this); }
  void reference(Object& object) override { message_.references.push_back({out.size(), engine_.number(object)}); }
  std::uint64_t add(Object& object) override { return note(engine_.number(object)); }
  std::uint64_t add(ActorCore& actor) override { return note(engine_.number(actor)); }

 private:
  std::uint64_t note(std::uint64_t id) {
    message_.handles.push_back(id);
    return id;
  }
  WorkerEngine& engine_;
  CallMessage& message_;
};

/// Notes the handles in a value that is put.
class PutHandles final : public HandleWriter {
 public:
  explicit PutHandles(WorkerEngine& engine) : engine_(engine) {}
  std::uint64_t add(Object& object) override { return ids.emplace_back(engine_.number(object)); }
  std::uint64_t add(ActorCore& actor) override { return ids.emplace_back(engine_.number(actor)); }
  std::vector<std::uint64_t> ids;

 private:
  WorkerEngine& engine_;
};

}  // namespace

thread_local bool WorkerEngine::in_arguments_ = false;
thread_local WorkerEngine::CallNotes WorkerEngine::notes_;

void set_worker_site(const WorkerSite* site) noexcept {
  site_of_process = site;
}
const WorkerSite* worker_site() noexcept {
  return site_of_process;
}

WorkerEngine::WorkerEngine(const WorkerSite& site) : site_(site), next_id_(first_id_of_worker(site.serial)) {
  engine_of_process = this;
  set_handle_reader(std::shared_ptr<HandleReader>(this, [](HandleReader*) {}));  // it lives as long as the process
  handle_forgetter = &WorkerEngine::forget;
  wait_teller = &WorkerEngine::tell_wait;
  reader_ = std::thread([this] { receive(); });
  reader_.detach();  // it lives as long as the process
}

void WorkerEngine::send(FromWorker kind, const WireWriter& payload) {
  const std::string frame = encode_frame(static_cast<std::uint8_t>(kind), payload.bytes());
  std::lock_guard lock(send_mutex_);
  // Without the main process there is nothing to do: the kernel ends us with it.
  if (!write_fully(site_.socket, frame)) _exit(1);
  num_sent_.fetch_add(1, std::memory_order_relaxed);
}

void WorkerEngine::send_id(FromWorker kind, std::uint64_t id) noexcept {
  WireWriter out;
  out.number(id);
  send(kind, out);
}

void WorkerEngine::add(std::uint64_t id, Known known) {
  known.object->set_numbered();
  ids_.emplace(known.object, id);
  known_.emplace(id, known);
}

void WorkerEngine::forget(Object* object) {
  WorkerEngine& engine = *engine_of_process.load();
  std::uint64_t id = 0;
  bool counted = false;
  {
    std::lock_guard lock(engine.mutex_);
    const auto found = engine.ids_.find(object);
    if (found == engine.ids_.end()) return;
    id = found->second;
    engine.ids_.erase(found);
    const auto known = engine.known_.find(id);
    if (known != engine.known_.end() && known->second.object == object) {
      counted = known->second.counted || known->second.wanted;
      engine.known_.erase(known);
    }
  }
  if (counted) engine.send_id(FromWorker::release, id);
}

std::uint64_t WorkerEngine::number(Object& object) {
  std::uint64_t id = 0;
  {
    std::lock_guard lock(mutex_);
    if (const auto found = ids_.find(&object); found != ids_.end()) return found->second;
  }
  // Nobody else knows it yet: a value that was put here. Its bytes may be known already.
  if (const auto stored = std::dynamic_pointer_cast<const WorkerBytes>(object.stored())) {
    std::lock_guard lock(mutex_);
    add(stored->id(), {.object = &object, .counted = false, .answered = true});
    return stored->id();
  }
  if (!object.ready()) throw_internal("an object without a number is not ready");
  if (object.error() != nullptr) std::rethrow_exception(object.error());
  PutHandles handles(*this);
  WireWriter value;
  value.set_handles(&handles);
  object.encode_value(value);
  {
    std::lock_guard lock(mutex_);
    if (const auto found = ids_.find(&object); found != ids_.end()) return found->second;
    id = next_id_++;
    add(id, {.object = &object, .answered = true});
  }
  WireWriter out;
  encode(out, PutMessage{.id = id, .size = value.size(), .bytes = value.bytes(), .handles = handles.ids});
  send(FromWorker::put, out);
  return id;
}

std::uint64_t WorkerEngine::number(ActorCore& actor) {
  return static_cast<RemoteActor&>(actor).id;
}

std::shared_ptr<const StoredBytes> WorkerEngine::store(const void* value, EncodeFunction encode) {
  WireWriter count{WireWriter::Counting{}};
  encode(value, count);
  if (count.size() <= kInlineValueBytes) return nullptr;
  const std::uint64_t offset = allocate(count.size());
  PutHandles handles(*this);
  std::uint64_t id = 0;
  {
    std::lock_guard lock(mutex_);
    id = next_id_++;
  }
  const auto put = [&](std::size_t size) {
    WireWriter out;
    mobula::encode(out, PutMessage{.id = id, .offset = offset, .size = size, .handles = handles.ids});
    send(FromWorker::put, out);
  };
  auto bytes = std::make_shared<const WorkerBytes>(*this, *site_.arena, id, 0, count.size(), true);
  try {
    WireWriter out(site_.arena->at(offset), count.size());
    out.set_handles(&handles);
    encode(value, out);
  } catch (...) {
    put(count.size());  // the block is given back with the bytes
    throw;
  }
  put(count.size());
  return bytes;
}

std::uint64_t WorkerEngine::next_request() {
  std::lock_guard lock(mutex_);
  const std::uint64_t id = next_request_++;
  replies_.try_emplace(id);
  return id;
}

std::string WorkerEngine::request(FromWorker kind, const WireWriter& payload, std::uint64_t id) {
  send(kind, payload);
  std::unique_lock lock(mutex_);
  Reply& reply = replies_.at(id);  // references into the map stay valid
  changed_.wait(lock, [&] { return reply.come; });
  std::string text = std::move(reply.payload);
  replies_.erase(id);
  return text;
}

std::uint64_t WorkerEngine::allocate(std::uint64_t bytes) {
  const std::uint64_t id = next_request();
  WireWriter out;
  out.number(id);
  out.number(bytes);
  const std::string reply = request(FromWorker::room, out, id);
  WireReader in(reply);
  const auto offset = in.number<std::uint64_t>();
  if (offset == 0) std::rethrow_exception(decode_error(in.text()));
  return offset;
}

std::uint64_t WorkerEngine::pin(std::uint64_t id) {
  const std::uint64_t asked = next_request();
  WireWriter out;
  out.number(asked);
  out.number(id);
  const std::string reply = request(FromWorker::pin, out, asked);
  WireReader in(reply);
  const auto offset = in.number<std::uint64_t>();
  if (offset == 0) std::rethrow_exception(decode_error(in.text()));
  return offset;
}

ActorCore* WorkerEngine::find_program_actor(const std::string& name, const std::string& type) {
  const std::uint64_t asked = next_request();
  WireWriter out;
  out.number(asked);
  out.text(name);
  out.text(type);
  const std::string reply = request(FromWorker::find_actor, out, asked);
  WireReader in(reply);
  const auto id = in.number<std::uint64_t>();
  if (id == 0) std::rethrow_exception(decode_error(in.text()));
  ActorOptions options;
  options.name = name;
  auto* actor = new RemoteActor(this, std::move(options), id);
  actor->set_title(type);
  return actor;
}

ResourceSet WorkerEngine::ask_resources(bool available) const {
  auto* self = const_cast<WorkerEngine*>(this);
  const std::uint64_t asked = self->next_request();
  WireWriter out;
  out.number(asked);
  const std::string reply = self->request(FromWorker::resources, out, asked);
  WireReader in(reply);
  ResourceSet sets[2];
  for (ResourceSet& set : sets) {
    for (auto left = in.number<std::uint64_t>(); left > 0; --left) {
      const std::string name(in.text());
      set.set(name, in.number<double>());
    }
  }
  return sets[available ? 1 : 0];
}

ResourceSet WorkerEngine::total_resources() const {
  return ask_resources(false);
}
ResourceSet WorkerEngine::available_resources() const {
  return ask_resources(true);
}

void WorkerEngine::send_call(FromWorker kind, std::uint64_t actor, Task* task) {
  CallMessage message;
  try {
    CallWriter writer(*this, message);
    task->encode_arguments(writer);
    message.bytes = writer.out.take();
  } catch (...) {
    TaskGroup* group = task->group;
    const std::exception_ptr failure = capture_task_failure();
    task->drop_arguments();
    if (group != nullptr) group->fail(failure);
    task->complete_with(failure);
    task->release();
    if (group != nullptr) group->finished(1);
    return;
  }
  const bool grouped = task->group != nullptr;
  {
    std::lock_guard lock(mutex_);
    message.id = next_id_++;
    add(message.id, {.object = task, .kept = grouped});
  }
  message.actor = actor;
  message.key = task->function().key;
  message.caller = site_.caller();
  if (task->extras != nullptr) {
    message.options = task->extras->options;
    message.lane = task->extras->lane;
  }
  // Work that a worker process asks for belongs into one, too: the main process is to survive it.
  if (message.options.isolation == Isolation::inherit) message.options.isolation = Isolation::process;
  message.has_options = task->extras != nullptr || kind == FromWorker::submit;
  WireWriter out;
  encode(out, message);
  send(kind, out);
  task->drop_arguments();
  if (grouped) {
    want(task, false);
  } else {
    task->release();
  }
}

void WorkerEngine::submit(Task* task) {
  send_call(FromWorker::submit, 0, task);
}

ActorCore* WorkerEngine::create_actor(ActorOptions options) {
  if (options.isolation == Isolation::inherit) options.isolation = Isolation::process;
  std::uint64_t id = 0;
  {
    std::lock_guard lock(mutex_);
    id = next_id_++;
  }
  WireWriter out;
  out.number(id);
  encode(out, options);
  send(FromWorker::create_actor, out);
  return new RemoteActor(this, std::move(options), id);
}

void WorkerEngine::call(ActorCore* actor, Task* call) {
  send_call(FromWorker::call, static_cast<RemoteActor*>(actor)->id, call);
}

void WorkerEngine::kill(ActorCore* actor) {
  send_id(FromWorker::kill, static_cast<RemoteActor*>(actor)->id);
}

bool WorkerEngine::cancel(Task* task, Cancel how) {
  if (task->ready()) return false;
  WireWriter out;
  out.number(number(*task));
  out.number<std::uint8_t>(how == Cancel::forced ? 1 : 0);
  send(FromWorker::cancel, out);
  return true;
}

Object* WorkerEngine::object(std::uint64_t id, const char* type, Object* (*make)(Engine*)) {
  bool tell = false;
  Object* object = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (const auto found = known_.find(id); found != known_.end()) {
      if (found->second.object->try_retain()) {
        if (std::strcmp(found->second.object->type_name(), type) == 0) return found->second.object;
        throw_internal(fmt::format("handle {:#x} is read as a {}", id, demangle(type)));
      }
      // Its end is on its way: the number goes on with a new object.
      ids_.erase(found->second.object);
      Known known = found->second;
      known_.erase(found);
      object = make(this);
      add(id, {.object = object, .counted = known.counted});
      return object;
    }
    object = make(this);
    tell = !in_arguments_;
    add(id, {.object = object, .counted = tell});
    if (!tell) notes_.objects.push_back(id);
  }
  if (tell) send_id(FromWorker::hold, id);
  return object;
}

ActorCore* WorkerEngine::actor(std::uint64_t id) {
  auto* actor = new RemoteActor(this, {}, id);
  if (in_arguments_) {
    // It counts in the main process from the call's end on: until then it must not say that it is gone.
    actor->retain();
    notes_.actors.push_back(actor);
    notes_.actor_ids.push_back(id);
  } else {
    send_id(FromWorker::hold, id);
  }
  return actor;
}

WorkerEngine::CallNotes WorkerEngine::begin_call() {
  in_arguments_ = true;
  return std::exchange(notes_, {});
}

std::vector<std::uint64_t> WorkerEngine::report_call(CallNotes& notes, std::uint64_t& num_frames) {
  in_arguments_ = false;
  std::lock_guard lock(mutex_);
  std::vector<std::uint64_t> borrowed = notes_.actor_ids;
  for (const std::uint64_t id : notes_.objects) {
    const auto found = known_.find(id);
    if (found == known_.end() || found->second.counted) continue;
    found->second.counted = true;
    borrowed.push_back(id);
  }
  std::swap(notes, notes_);
  // What goes away from here on is told in a later frame.
  num_frames = num_sent_.load(std::memory_order_relaxed);
  if (num_frames != 0) {
    std::lock_guard send_lock(send_mutex_);  // what is counted is written
    num_frames = num_sent_.load(std::memory_order_relaxed);
  }
  return borrowed;
}

void WorkerEngine::end_call(const CallNotes& notes) noexcept {
  for (ActorCore* actor : notes.actors) actor->release();
}

void WorkerEngine::want(Object* object, bool wait_for_answer) {
  std::uint64_t id = 0;
  {
    std::lock_guard lock(mutex_);
    const auto found = ids_.find(object);
    if (found == ids_.end()) return;
    id = found->second;
    Known& known = known_.at(id);
    if (known.wanted) return;
    known.wanted = true;
  }
  send_id(FromWorker::want, id);
  if (!wait_for_answer) return;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    const auto found = known_.find(id);
    return found == known_.end() || found->second.answered;
  });
}

void WorkerEngine::tell_wait(Object& object) {
  WorkerEngine& engine = *engine_of_process.load();
  // A thread of the user's own may wait while the call goes on.
  if (engine.site_.caller().empty()) return;
  std::uint64_t id = 0;
  {
    std::lock_guard lock(engine.mutex_);
    const auto found = engine.ids_.find(&object);
    if (found == engine.ids_.end()) return;
    id = found->second;
  }
  engine.send_id(FromWorker::awaits, id);
}

void WorkerEngine::run_awaited(Object* object) {
  std::uint64_t id = 0;
  {
    std::lock_guard lock(mutex_);
    const auto found = ids_.find(object);
    if (found == ids_.end()) return;
    id = found->second;
  }
  // The task that is waited for runs here and now rather than in one more worker.
  if (object->ready() || inline_depth >= kMaxInlineDepth) return;
  ++inline_depth;
  site_.run_here(id);
  --inline_depth;
}

void WorkerEngine::before_wait(Object* object) {
  want(object, true);
}

void WorkerEngine::before_wait_any(Object* const* objects, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (!objects[i]->ready()) want(objects[i], false);
  }
}

void WorkerEngine::lend_slot() {
  if (!site_.lends) return;
  std::lock_guard lock(mutex_);
  if (num_waiting_++ == 0) send_id(FromWorker::blocked, 0);
}

void WorkerEngine::take_slot_back() {
  if (!site_.lends) return;
  std::lock_guard lock(mutex_);
  if (--num_waiting_ == 0) send_id(FromWorker::unblocked, 0);
}

void WorkerEngine::receive() {
  pthread_setname_np(pthread_self(), "mobula-answers");
  FrameReader frames;
  for (;;) {
    while (const auto frame = frames.next()) {
      WireReader in(frame->payload);
      switch (static_cast<ToWorker>(frame->kind)) {
        case ToWorker::value:
          take_value(in);
          break;
        case ToWorker::pending: {
          std::lock_guard lock(mutex_);
          const auto found = known_.find(in.number<std::uint64_t>());
          if (found != known_.end()) found->second.answered = true;
          changed_.notify_all();
          break;
        }
        case ToWorker::start:
          break;
        case ToWorker::room:
        case ToWorker::actor:
        case ToWorker::resources: {
          std::lock_guard lock(mutex_);
          const auto found = replies_.find(in.number<std::uint64_t>());
          if (found == replies_.end()) break;
          found->second.payload.assign(in.take(in.remaining()), frame->payload.size() - sizeof(std::uint64_t));
          found->second.come = true;
          changed_.notify_all();
          break;
        }
      }
    }
    if (!frames.fill(site_.socket, true)) return;  // the kernel ends us with the main process
  }
}

void WorkerEngine::take_value(WireReader& in) {
  const auto id = in.number<std::uint64_t>();
  const auto form = in.number<ValueForm>();
  Object* object = nullptr;
  bool kept = false;
  {
    std::lock_guard lock(mutex_);
    const auto found = known_.find(id);
    if (found != known_.end()) {
      found->second.answered = true;
      if (!found->second.object->ready() && found->second.object->try_retain()) {
        object = found->second.object;
        kept = std::exchange(found->second.kept, false);
      }
    }
    changed_.notify_all();
  }
  if (object == nullptr) return;
  Task* task = object->task();
  TaskGroup* group = task == nullptr ? nullptr : task->group;
  std::exception_ptr failure;
  try {
    if (form == ValueForm::error) {
      failure = decode_error(in.text());
    } else if (form == ValueForm::inline_bytes) {
      object->take_bytes(in.text());
    } else {
      const auto offset = in.number<std::uint64_t>();
      const auto size = in.number<std::uint64_t>();
      object->take_stored(std::make_shared<const WorkerBytes>(*this, *site_.arena, id, offset, size, false));
    }
  } catch (...) {
    failure = capture_task_failure();
  }
  if (failure != nullptr) {
    if (group != nullptr) group->fail(failure);
    object->complete_with(std::move(failure));
  } else {
    object->complete();
  }
  object->release();
  if (kept) object->release();
  if (group != nullptr) group->finished(1);
}

}  // namespace mobula
