#include "mobula/core/local/worker_session.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "mobula/base/log.hpp"
#include "mobula/core/actor_core.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/local/store_writer.hpp"
#include "mobula/core/relayed_task.hpp"
#include "mobula/core/value_object.hpp"

namespace mobula {

/// Waits in an object for its completion, to tell the worker.
struct WorkerSession::Want : Waiter {
  std::weak_ptr<WorkerSession> session;
  std::uint64_t id = 0;
  Object* object = nullptr;  ///< counted
};

void WorkerSession::read() {
  if (socket_ < 0) return;
  // Everything that was written so far: what a result stands on is among it.
  char next = 0;
  while (reader_.fill(socket_, false) && recv(socket_, &next, 1, MSG_PEEK | MSG_DONTWAIT) == 1) {
  }
  std::lock_guard lock(frames_mutex_);
  while (auto frame = reader_.next()) {
    frames_.push_back(std::move(*frame));
    num_read_.fetch_add(1, std::memory_order_release);
  }
}

void WorkerSession::act(std::uint64_t num_frames) {
  while (num_acted() < num_frames) {
    Frame frame;
    {
      std::lock_guard lock(frames_mutex_);
      if (frames_.empty()) return;
      frame = std::move(frames_.front());
      frames_.pop_front();
    }
    try {
      act(frame);
    } catch (const std::exception& error) {
      log_error("what a worker process asked for could not be done: {}", error.what());
    }
    num_acted_.fetch_add(1, std::memory_order_release);
  }
}

void WorkerSession::act(const Frame& frame) {
  WireReader in(frame.payload);
  switch (static_cast<FromWorker>(frame.kind)) {
    case FromWorker::hold:
      borrow(in.number<std::uint64_t>(), false);
      break;
    case FromWorker::release:
      release(in.number<std::uint64_t>());
      break;
    case FromWorker::put:
      put(in);
      break;
    case FromWorker::submit:
      submit(in, false);
      break;
    case FromWorker::call:
      submit(in, true);
      break;
    case FromWorker::create_actor:
      create_actor(in);
      break;
    case FromWorker::want:
      want(in.number<std::uint64_t>());
      break;
    case FromWorker::cancel: {
      Object* object = host_.handles->find(in.number<std::uint64_t>());
      if (object == nullptr) break;
      const Cancel how = in.number<std::uint8_t>() != 0 ? Cancel::forced : Cancel::cooperative;
      try {
        if (Task* task = object->task()) host_.engine->cancel(task, how);
      } catch (const Error& error) {
        log_warning("a worker's cancel() was refused: {}", error.what());
      }
      object->release();
      break;
    }
    case FromWorker::kill: {
      ActorCore* actor = host_.handles->actor(in.number<std::uint64_t>());
      host_.engine->kill(actor);
      actor->release();
      break;
    }
    case FromWorker::pin:
      pin(in);
      break;
    case FromWorker::unpin: {
      PinnedBytes gone;
      std::lock_guard lock(holds_mutex_);
      if (const auto found = holds_.find(in.number<std::uint64_t>()); found != holds_.end()) {
        std::swap(gone, found->second.pin);
      }
      break;
    }
    case FromWorker::room:
      make_room(in);
      break;
    case FromWorker::took: {
      std::lock_guard lock(holds_mutex_);
      reserved_.erase(in.number<std::uint64_t>());
      break;
    }
    case FromWorker::find_actor:
      find_actor(in);
      break;
    case FromWorker::resources: {
      WireWriter out;
      out.number(in.number<std::uint64_t>());
      for (const ResourceSet& set : {host_.engine->total_resources(), host_.engine->available_resources()}) {
        out.number<std::uint64_t>(set.amounts().size());
        for (const auto& [name, amount] : set.amounts()) {
          out.text(name);
          out.number(amount.value());
        }
      }
      send(ToWorker::resources, out);
      break;
    }
    case FromWorker::blocked:
    case FromWorker::unblocked:
      blocked_ = static_cast<FromWorker>(frame.kind) == FromWorker::blocked;
      host_.blocked(blocked_);
      break;
    case FromWorker::awaits:
      note_wait(in.number<std::uint64_t>());
      break;
  }
}

void WorkerSession::borrow(std::uint64_t id, bool pinned) {
  PinnedBytes pin;
  if (pinned) {
    if (Object* object = host_.handles->find(id)) {
      if (const auto stored = object->stored()) pin = stored->pin();  // a call's arguments are in memory
      object->release();
    }
  }
  if (!host_.handles->hold(id)) return;
  {
    std::lock_guard lock(holds_mutex_);
    if (!closed_) {
      Hold& hold = holds_[id];
      ++hold.count;
      if (pinned) hold.pin = std::move(pin);
      return;
    }
  }
  host_.handles->release(id);
}

void WorkerSession::release(std::uint64_t id) {
  Hold gone;
  {
    std::lock_guard lock(holds_mutex_);
    const auto found = holds_.find(id);
    if (found == holds_.end()) return;
    // A handle that came with a call's arguments counts there; here is only what was sent for it.
    if (found->second.count == 0) {
      gone = std::move(found->second);
      holds_.erase(found);
      return;
    }
    if (--found->second.count == 0) {
      gone = std::move(found->second);
      holds_.erase(found);
    }
  }
  host_.handles->release(id);
}

bool WorkerSession::hand_over(std::uint64_t id) {
  Hold gone;
  std::lock_guard lock(holds_mutex_);
  const auto found = holds_.find(id);
  if (found == holds_.end() || found->second.count == 0) return false;
  if (--found->second.count == 0) {
    gone = std::move(found->second);
    holds_.erase(found);
  }
  return true;
}

void WorkerSession::detach() {
  std::lock_guard lock(send_mutex_);
  socket_ = -1;
}

bool WorkerSession::close() {
  std::unordered_map<std::uint64_t, Hold> holds;
  std::unordered_map<std::uint64_t, std::uint64_t> reserved;
  std::unordered_map<std::uint64_t, std::unique_ptr<NotedWait>> noted;
  detach();
  {
    std::lock_guard lock(holds_mutex_);
    closed_ = true;
    holds.swap(holds_);
    reserved.swap(reserved_);
    noted.swap(noted_);
  }
  for (const auto& [offset, size] : reserved) host_.store->free(offset, size);
  for (const auto& [id, hold] : holds) {
    if (hold.count != 0) host_.handles->release(id, hold.count);
  }
  return std::exchange(blocked_, false);
}

void WorkerSession::put(WireReader& in) {
  const PutMessage message = decode_put(in);
  std::shared_ptr<HeldHandles> inner;
  if (!message.handles.empty()) {
    inner = std::make_shared<HeldHandles>(host_.handles);
    for (const std::uint64_t id : message.handles) inner->add(id);
  }
  std::shared_ptr<const StoredBytes> stored;
  if (message.offset != 0) {
    std::lock_guard lock(holds_mutex_);
    reserved_.erase(message.offset);
    stored = host_.store->adopt(message.offset, message.size, message.size, std::move(inner));
  } else {
    stored = std::make_shared<const HeapBytes>(std::string(message.bytes), std::move(inner));
  }
  auto* object = new UntypedObject(host_.engine, stored);
  host_.handles->name(message.id, *object);
  object->release();
  std::lock_guard lock(holds_mutex_);
  holds_[message.id].count = 1;
}

void WorkerSession::fail(std::uint64_t id, std::exception_ptr error) {
  auto* object = new ValueObject<function::Nothing>(host_.engine);
  object->complete_with(std::move(error));
  host_.handles->name(id, *object);
  object->release();
}

void WorkerSession::submit(WireReader& in, bool on_actor) {
  CallMessage message = decode_call(in);
  {
    std::lock_guard lock(holds_mutex_);
    holds_[message.id].count = 1;
  }
  ActorCore* actor = nullptr;
  Task* task = nullptr;
  try {
    RelayedCall call;
    call.id = message.id;
    call.entry = find_function(message.key);
    if (call.entry == nullptr) {
      throw Error(ErrorCode::not_found, "the program does not know the function '" + message.key + "'",
                  "only functions of libraries that the program has loaded, too, can be called");
    }
    if (!message.handles.empty()) {
      auto held = std::make_shared<HeldHandles>(host_.handles);
      for (const std::uint64_t id : message.handles) held->add(id);
      call.handles = std::move(held);
    }
    for (const CallMessage::Reference& reference : message.references) {
      Object* object = host_.handles->find(reference.id);
      if (object == nullptr || reference.position > message.bytes.size()) {
        throw Error(ErrorCode::corrupt, "an argument's handle stands for nothing");
      }
      call.references.push_back({static_cast<std::size_t>(reference.position), object});
    }
    call.bytes = std::move(message.bytes);
    call.caller = std::move(message.caller);
    if (on_actor) call.actor = actor = host_.handles->actor(message.actor);
    const FunctionEntry& entry = *call.entry;
    if (actor != nullptr && entry.destroy_actor != nullptr) actor->set_title(entry.name);
    task = entry.relay(host_.engine, std::move(call));
    if (message.has_options || message.lane != 0) {
      task->extras = std::make_unique<TaskExtras>();
      task->extras->options = std::move(message.options);
      task->extras->lane = message.lane;
    }
    host_.handles->name(message.id, *task);
    if (on_actor) {
      host_.engine->call(actor, task);
    } else {
      host_.engine->submit(task);
    }
  } catch (...) {
    const std::exception_ptr error = capture_task_failure();
    if (task == nullptr) {
      fail(message.id, error);
    } else {
      task->complete_with(error);
      task->release();  // the engine's reference
    }
  }
  if (task != nullptr) task->release();
  if (actor != nullptr) actor->release();
}

void WorkerSession::create_actor(WireReader& in) {
  const auto id = in.number<std::uint64_t>();
  ActorOptions options = decode_actor_options(in);
  {
    std::lock_guard lock(holds_mutex_);
    holds_[id].count = 1;
  }
  ActorCore* actor = host_.engine->create_actor(std::move(options));
  host_.handles->name(id, *actor);
  actor->release();
}

void WorkerSession::want(std::uint64_t id) {
  Object* object = host_.handles->find(id);
  if (object == nullptr) {
    WireWriter out;
    out.number(id);
    out.number(ValueForm::error);
    out.text(encode_error(std::make_exception_ptr(ObjectLostError(
        "the object of this Ref is gone", "keep its first Ref until the others have arrived where they are used"))));
    send(ToWorker::value, out);
    return;
  }
  if (!object->ready()) {
    WireWriter out;
    out.number(id);
    send(ToWorker::pending, out);
    auto* waiter = new Want;
    waiter->session = weak_from_this();
    waiter->id = id;
    waiter->object = object;
    waiter->notify = [](Waiter* self) {
      auto* told = static_cast<Want*>(self);
      if (const auto session = told->session.lock()) session->send_value(told->id, *told->object);
      told->object->release();
      delete told;
    };
    if (object->add_waiter(*waiter)) return;
    delete waiter;
  }
  send_value(id, *object);
  object->release();
}

void WorkerSession::note_wait(std::uint64_t id) {
  Object* object = host_.handles->find(id);
  if (object == nullptr) return;
  const Ref<void> kept(object);
  std::unique_ptr<NotedWait> noted;
  try {
    noted = std::make_unique<NotedWait>(host_.running(), *object);
  } catch (...) {
    WireWriter out;
    out.number(id);
    out.number(ValueForm::error);
    out.text(encode_error(std::current_exception()));
    send(ToWorker::value, out);
    return;
  }
  std::lock_guard lock(holds_mutex_);
  if (closed_) return;
  std::swap(noted_[id], noted);
  // Who tells the worker that it is ready was here before.
  if (object->ready()) {
    noted = std::move(noted_[id]);
    noted_.erase(id);
  }
}

void WorkerSession::send_value(std::uint64_t id, Object& object) {
  std::unique_ptr<NotedWait> over;
  {
    std::lock_guard lock(holds_mutex_);
    if (const auto found = noted_.find(id); found != noted_.end()) {
      over = std::move(found->second);
      noted_.erase(found);
    }
  }
  WireWriter out;
  out.number(id);
  std::exception_ptr error = object.error();
  if (error == nullptr) {
    try {
      const auto inner = std::make_shared<HeldHandles>(host_.handles);
      const auto stored = store_object(*host_.store, host_.handles, object);
      PinnedBytes pin;
      if (stored != nullptr) {
        pin = stored->pin();
        out.number(ValueForm::stored);
        out.number<std::uint64_t>(StoredObject::offset_of(*host_.store, pin));
        out.number<std::uint64_t>(pin.bytes().size());
      } else {
        WireWriter value;
        value.set_handles(inner.get());
        object.encode_value(value);
        out.number(ValueForm::inline_bytes);
        out.text(value.bytes());
      }
      std::lock_guard lock(holds_mutex_);
      if (closed_) return;
      Hold& hold = holds_[id];
      if (stored != nullptr) hold.pin = std::move(pin);
      if (!inner->empty()) hold.inner = inner;
    } catch (...) {
      error = capture_task_failure();
    }
  }
  if (error != nullptr) {
    WireWriter failed;
    failed.number(id);
    failed.number(ValueForm::error);
    failed.text(encode_error(error));
    send(ToWorker::value, failed);
    return;
  }
  send(ToWorker::value, out);
}

void WorkerSession::pin(WireReader& in) {
  WireWriter out;
  out.number(in.number<std::uint64_t>());
  const auto id = in.number<std::uint64_t>();
  try {
    Object* object = host_.handles->find(id);
    if (object == nullptr) throw ObjectLostError("the object of this Ref is gone");
    const auto stored = object->stored();
    object->release();
    PinnedBytes pinned = stored->pin();
    out.number<std::uint64_t>(StoredObject::offset_of(*host_.store, pinned));
    std::lock_guard lock(holds_mutex_);
    if (const auto found = holds_.find(id); found != holds_.end()) found->second.pin = std::move(pinned);
  } catch (...) {
    out.number<std::uint64_t>(0);
    out.text(encode_error(capture_task_failure()));
  }
  send(ToWorker::room, out);
}

void WorkerSession::make_room(WireReader& in) {
  WireWriter out;
  out.number(in.number<std::uint64_t>());
  const auto size = in.number<std::uint64_t>();
  try {
    const std::uint64_t offset = host_.store->allocate(size);
    {
      std::lock_guard lock(holds_mutex_);
      reserved_.emplace(offset, size);
    }
    out.number(offset);
  } catch (...) {
    out.number<std::uint64_t>(0);
    out.text(encode_error(capture_task_failure()));
  }
  send(ToWorker::room, out);
}

void WorkerSession::find_actor(WireReader& in) {
  WireWriter out;
  out.number(in.number<std::uint64_t>());
  const std::string name(in.text());
  const std::string type(in.text());
  try {
    ActorCore* actor = host_.find_actor(name, type);
    const std::uint64_t id = host_.handles->hold(*actor);
    actor->release();
    {
      std::lock_guard lock(holds_mutex_);
      ++holds_[id].count;
    }
    out.number(id);
  } catch (...) {
    out.number<std::uint64_t>(0);
    out.text(encode_error(capture_task_failure()));
  }
  send(ToWorker::actor, out);
}

void WorkerSession::send(ToWorker kind, const WireWriter& payload) {
  bool full = false;
  {
    std::lock_guard lock(send_mutex_);
    if (socket_ < 0) return;
    waiting_output_ += encode_frame(static_cast<std::uint8_t>(kind), payload.bytes());
  }
  flush();
  full = output_waiting();
  if (full) host_.output_waits();
}

void WorkerSession::flush() {
  std::lock_guard lock(send_mutex_);
  while (socket_ >= 0 && !waiting_output_.empty()) {
    const ssize_t sent = ::send(socket_, waiting_output_.data(), waiting_output_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      if (errno != EAGAIN && errno != EWOULDBLOCK) waiting_output_.clear();  // it is dead; its exit is told elsewhere
      return;
    }
    waiting_output_.erase(0, static_cast<std::size_t>(sent));
  }
}

bool WorkerSession::output_waiting() const {
  std::lock_guard lock(send_mutex_);
  return !waiting_output_.empty();
}

}  // namespace mobula
