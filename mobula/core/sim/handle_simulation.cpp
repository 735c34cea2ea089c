#include "mobula/core/sim/handle_simulation.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "mobula/base/descriptor.hpp"
#include "mobula/base/error.hpp"
#include "mobula/base/random.hpp"
#include "mobula/core/local/frames.hpp"
#include "mobula/core/local/handle_table.hpp"
#include "mobula/core/local/object_store.hpp"
#include "mobula/core/local/worker_protocol.hpp"
#include "mobula/core/local/worker_session.hpp"

namespace mobula::sim {
namespace {

using Ids = std::vector<std::uint64_t>;

/// A value here is a list of handles.
std::string bytes_of(const Ids& ids) {
  return {reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(std::uint64_t)};
}
Ids ids_in(std::string_view bytes) {
  Ids ids(bytes.size() / sizeof(std::uint64_t));
  if (!ids.empty()) std::memcpy(ids.data(), bytes.data(), ids.size() * sizeof(std::uint64_t));
  return ids;
}

/// What a worker knows of a number (WorkerEngine::Known).
struct Known {
  int handles = 0;
  bool counted = true;
  bool wanted = false;
};

/// A call and its slot.
struct ImaginedCall {
  int worker = 0;
  Ids arguments;
  std::shared_ptr<HeldHandles> kept;
  bool begun = false;
  bool shown = false;
  Ids local;  ///< handles that the call's code holds
  Ids notes;  ///< arguments that are counted from its end on
  std::uint64_t num_frames = 0;
  Ids borrowed;
  Ids result;
};

struct ImaginedWorker {
  Descriptor near;  ///< the driver's end
  Descriptor far;
  std::shared_ptr<WorkerSession> session;
  FrameReader answers;
  bool alive = true;
  std::map<std::uint64_t, Known> known;
  Ids kept;  ///< handles that outlive calls, as those in an actor's members
  std::uint64_t next_id = 0;
  std::uint64_t num_sent = 0;
  std::shared_ptr<ImaginedCall> call;
};

class HandleSimulation {
 public:
  explicit HandleSimulation(const HandleSimulationOptions& options) : options_(options), random_(options.seed) {
    for (int i = 0; i < options.num_workers; ++i) start_worker(i);
  }

  HandleSimulationResult run() {
    for (int step = 0; step < options_.num_steps && result_.violations.empty(); ++step) {
      do_something();
      check_roots();
    }
    wind_up();
    return std::move(result_);
  }

 private:
  template <class... Args>
  void violate(fmt::format_string<Args...> format, Args&&... args) {
    result_.violations.push_back(fmt::format(format, std::forward<Args>(args)...));
  }
  bool chance(double p) { return random_.uniform() < p; }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_.below(n)); }
  template <class T>
  const T& any(const std::vector<T>& of) {
    return of[below(of.size())];
  }

  void start_worker(int number) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
      throw Error(ErrorCode::io, fmt::format("no pair of sockets: {}", std::strerror(errno)));
    }
    ImaginedWorker& worker = workers_[number];
    worker = {};
    worker.near = Descriptor(ends[0]);
    worker.far = Descriptor(ends[1]);
    worker.next_id = first_id_of_worker(next_serial_++);
    worker.session = std::make_shared<WorkerSession>(WorkerSession::Host{.engine = nullptr,
                                                                         .store = store_,
                                                                         .handles = table_,
                                                                         .find_actor = nullptr,
                                                                         .blocked = [](bool) {},
                                                                         .output_waits = [] {}},
                                                     worker.near.get());
  }

  void do_something() {
    const int number = static_cast<int>(below(workers_.size()));
    ImaginedWorker& worker = workers_[number];
    if (worker.alive && chance(options_.dies)) die(number);
    switch (below(14)) {
      case 0:
        make_object();
        break;
      case 1:
      case 2:
        if (!roots_.empty()) drop_root(below(roots_.size()));
        break;
      case 3:
        if (worker.alive && worker.call == nullptr) submit(number);
        break;
      case 4:
        collect(number);  // somebody who waits for a result, without reading the socket
        break;
      case 5:
        monitor();
        break;
      default:
        if (worker.alive) work(worker);
    }
  }

  // The driver.

  void make_object() {
    auto held = std::make_shared<HeldHandles>(table_);
    Ids inner;
    for (std::size_t i = below(3); i > 0 && !roots_.empty(); --i) inner.push_back(held->add(*any(roots_)));
    roots_.push_back(new UntypedObject(nullptr, std::make_shared<const HeapBytes>(bytes_of(inner), std::move(held))));
    ++result_.num_objects;
  }

  void drop_root(std::size_t index) {
    Object* object = roots_[index];
    roots_.erase(roots_.begin() + static_cast<std::ptrdiff_t>(index));
    object->release();
  }

  void submit(int number) {
    auto call = std::make_shared<ImaginedCall>();
    call->worker = number;
    call->kept = std::make_shared<HeldHandles>(table_);
    for (std::size_t i = below(3); i > 0 && !roots_.empty(); --i) {
      call->arguments.push_back(call->kept->add(*any(roots_)));
    }
    workers_[number].call = call;
    ++result_.num_calls;
  }

  /// ProcessPool's collect_slot().
  void collect(int number) {
    ImaginedWorker& worker = workers_[number];
    if (worker.call == nullptr || !worker.call->shown) return;
    const std::shared_ptr<ImaginedCall> call = std::exchange(worker.call, nullptr);
    const bool early = options_.mistake == HandleMistake::results_before_frames && call->result.empty();
    if (call->borrowed.empty() && call->result.empty() && (early || worker.session->num_acted() >= call->num_frames)) {
      return;  // the call's end: what it kept goes
    }
    if (early) {
      for (const std::uint64_t id : call->borrowed) worker.session->borrow(id, false);
      return;
    }
    late_.push_back({call, worker.session});
  }

  /// ProcessPool's watch().
  void monitor() {
    std::map<std::shared_ptr<WorkerSession>, std::uint64_t> talking;
    for (auto& [number, worker] : workers_) {
      if (chance(0.5)) worker.session->read();
      if (worker.session->num_read() == worker.session->num_acted()) continue;
      talking[worker.session] = worker.session->num_read();
      if (options_.mistake != HandleMistake::frames_before_results) collect(number);
    }
    std::vector<int> gone;
    for (auto& [number, worker] : workers_) {
      if (worker.alive || chance(0.5)) continue;
      gone.push_back(number);
      worker.session->read();
      collect(number);
      worker.session->detach();
      talking[worker.session] = worker.session->num_read();
    }
    auto results = std::exchange(late_, {});
    for (const auto& late : results) late.session->read();
    std::stable_sort(results.begin(), results.end(),
                     [](const Late& a, const Late& b) { return a.call->num_frames < b.call->num_frames; });
    for (const Late& late : results) complete(late);
    for (const auto& [session, num_frames] : talking) session->act(num_frames);
    for (const auto& [number, worker] : workers_) {
      if (!worker.alive || worker.session->num_acted() != worker.num_sent) continue;
      for (const auto& [id, known] : worker.known) {
        if (known.counted) check(id, "a worker");
      }
    }
    for (const int number : gone) {
      workers_[number].session->close();
      start_worker(number);
    }
  }

  struct Late {
    std::shared_ptr<ImaginedCall> call;
    std::shared_ptr<WorkerSession> session;
  };
  void complete(const Late& late) {
    late.session->act(late.call->num_frames);
    for (const std::uint64_t id : late.call->borrowed) late.session->borrow(id, false);
    HeldHandles inner(table_);
    for (const std::uint64_t id : late.call->result) {
      if (late.session->hand_over(id)) inner.adopt(id);
    }
    for (const std::uint64_t id : late.call->result) {
      Object* object = table_->find(id);
      if (object == nullptr) {
        violate("handle {:#x} in a result stands for nothing", id);
        return;
      }
      roots_.push_back(object);
    }
  }

  // The workers.

  void send(ImaginedWorker& worker, FromWorker kind, const WireWriter& payload) {
    write_fully(worker.far.get(), encode_frame(static_cast<std::uint8_t>(kind), payload.bytes()));
    ++worker.num_sent;
  }
  void send_id(ImaginedWorker& worker, FromWorker kind, std::uint64_t id) {
    WireWriter out;
    out.number(id);
    send(worker, kind, out);
  }

  /// Makes a handle of a number that was read (WorkerEngine::object()).
  void read_handle(ImaginedWorker& worker, std::uint64_t id, bool in_arguments) {
    const auto [found, fresh] = worker.known.try_emplace(id);
    ++found->second.handles;
    worker.call->local.push_back(id);
    if (!fresh) return;
    found->second.counted = !in_arguments;
    if (in_arguments) {
      worker.call->notes.push_back(id);
    } else {
      send_id(worker, FromWorker::hold, id);
    }
  }

  /// Drops one handle (WorkerEngine::forget()).
  void drop_handle(ImaginedWorker& worker, std::uint64_t id) {
    const auto found = worker.known.find(id);
    if (--found->second.handles != 0) return;
    const bool tell = found->second.counted || found->second.wanted;
    worker.known.erase(found);
    if (tell) send_id(worker, FromWorker::release, id);
  }

  void work(ImaginedWorker& worker) {
    ImaginedCall* call = worker.call.get();
    if (call == nullptr || call->shown) {
      // Another thread of it drops what was kept.
      if (!worker.kept.empty() && chance(0.3)) drop_one(worker, worker.kept);
      return;
    }
    if (!call->begun) {
      call->begun = true;
      for (const std::uint64_t id : call->arguments) {
        check(id, "an argument");
        read_handle(worker, id, true);
      }
      return;
    }
    switch (below(6)) {
      case 0:
        put(worker);
        break;
      case 1:
        if (!call->local.empty()) drop_one(worker, call->local);
        break;
      case 2:
        if (!call->local.empty()) {
          const std::size_t index = below(call->local.size());
          worker.kept.push_back(call->local[index]);
          call->local.erase(call->local.begin() + static_cast<std::ptrdiff_t>(index));
        }
        break;
      case 3:
        want(worker);
        break;
      case 4:
        read_answers(worker);
        break;
      default:
        end_call(worker);
    }
  }

  void drop_one(ImaginedWorker& worker, Ids& from) {
    const std::size_t index = below(from.size());
    const std::uint64_t id = from[index];
    from.erase(from.begin() + static_cast<std::ptrdiff_t>(index));
    drop_handle(worker, id);
  }

  Ids visible(const ImaginedWorker& worker) {
    Ids all = worker.call->local;
    all.insert(all.end(), worker.kept.begin(), worker.kept.end());
    return all;
  }

  void put(ImaginedWorker& worker) {
    const Ids all = visible(worker);
    Ids inner;
    for (std::size_t i = below(3); i > 0 && !all.empty(); --i) inner.push_back(any(all));
    const std::uint64_t id = worker.next_id++;
    const std::string bytes = bytes_of(inner);
    WireWriter out;
    encode(out, PutMessage{.id = id, .size = bytes.size(), .bytes = bytes, .handles = inner});
    send(worker, FromWorker::put, out);
    worker.known[id].handles = 1;
    worker.call->local.push_back(id);
    ++result_.num_objects;
  }

  void want(ImaginedWorker& worker) {
    const Ids all = visible(worker);
    if (all.empty()) return;
    const std::uint64_t id = any(all);
    Known& known = worker.known.at(id);
    if (std::exchange(known.wanted, true)) return;
    send_id(worker, FromWorker::want, id);
  }

  void read_answers(ImaginedWorker& worker) {
    worker.answers.fill(worker.far.get(), false);
    while (const auto frame = worker.answers.next()) {
      if (static_cast<ToWorker>(frame->kind) != ToWorker::value) continue;
      WireReader in(frame->payload);
      const auto id = in.number<std::uint64_t>();
      // Nobody waits for the value of what was dropped.
      if (!worker.known.contains(id)) continue;
      if (in.number<ValueForm>() != ValueForm::inline_bytes) {
        violate("the object {:#x} is lost to a worker that holds it", id);
        return;
      }
      for (const std::uint64_t inner : ids_in(in.text())) read_handle(worker, inner, false);
    }
  }

  void end_call(ImaginedWorker& worker) {
    ImaginedCall& call = *worker.call;
    const Ids all = visible(worker);
    for (std::size_t i = below(3); i > 0 && !all.empty(); --i) call.result.push_back(any(all));
    for (const std::uint64_t id : call.result) ++worker.known.at(id).handles;  // the result's own, until it is shown
    while (!call.local.empty()) drop_one(worker, call.local);
    for (const std::uint64_t id : call.result) send_id(worker, FromWorker::hold, id);
    for (const std::uint64_t id : call.notes) {
      const auto found = worker.known.find(id);
      if (found == worker.known.end() || found->second.counted) continue;
      found->second.counted = true;
      call.borrowed.push_back(id);
    }
    call.num_frames = worker.num_sent;
    call.shown = true;
    for (const std::uint64_t id : call.result) drop_handle(worker, id);
  }

  void die(int number) {
    ImaginedWorker& worker = workers_[number];
    // In the middle of a message.
    if (chance(0.5)) {
      WireWriter out;
      out.number<std::uint64_t>(1);
      const std::string frame = encode_frame(static_cast<std::uint8_t>(FromWorker::release), out.bytes());
      write_fully(worker.far.get(), std::string_view(frame).substr(0, 1 + below(frame.size() - 1)));
    }
    worker.alive = false;
    worker.far = Descriptor();
    ++result_.num_deaths;  // what a call kept goes when the death has been dealt with
  }

  // What must hold.

  /// Everything that can be got at from here is there.
  void check(std::uint64_t id, const char* from) {
    std::set<std::uint64_t> seen;
    std::deque<std::uint64_t> todo{id};
    while (!todo.empty()) {
      const std::uint64_t next = todo.front();
      todo.pop_front();
      if (!seen.insert(next).second) continue;
      Object* object = table_->find(next);
      if (object == nullptr) {
        violate("{:#x} stands for nothing, and {} leads to it", next, from);
        return;
      }
      const PinnedBytes bytes = object->stored()->pin();
      for (const std::uint64_t inner : ids_in(bytes.bytes())) todo.push_back(inner);
      object->release();
    }
  }
  void check_roots() {
    for (Object* root : roots_) {
      const PinnedBytes bytes = root->stored()->pin();
      for (const std::uint64_t inner : ids_in(bytes.bytes())) check(inner, "an object of the program's");
    }
  }

  void wind_up() {
    for (int round = 0; round < 200; ++round) {
      for (auto& [number, worker] : workers_) {
        if (!worker.alive) continue;
        if (worker.call != nullptr && !worker.call->shown) {
          if (worker.call->begun)
            end_call(worker);
          else
            worker.call = nullptr;
        }
        // Half of them let go of what they hold, half die with it.
        if (number % 2 == 0) {
          while (!worker.kept.empty()) drop_one(worker, worker.kept);
        } else if (round == 100) {
          die(number);
        }
      }
      monitor();
      for (auto& [number, worker] : workers_) collect(number);
      check_roots();
      if (round == 150) {
        while (!roots_.empty()) drop_root(0);
      }
    }
    while (!roots_.empty()) drop_root(0);
    if (table_->size() != 0) violate("{} handles are kept for nobody", table_->size());
    for (auto& [number, worker] : workers_) worker.session->close();
  }

  const HandleSimulationOptions options_;
  Random random_;
  HandleSimulationResult result_;
  std::shared_ptr<ObjectStore> store_ = ObjectStore::make(std::uint64_t{1} << 20, {}, 0);
  std::shared_ptr<HandleTable> table_ = std::make_shared<HandleTable>(nullptr);
  std::uint32_t next_serial_ = 1;
  std::map<int, ImaginedWorker> workers_;
  std::vector<Object*> roots_;  ///< that the program holds, each counted
  std::vector<Late> late_;
};

}  // namespace

HandleSimulationResult simulate_handles(const HandleSimulationOptions& options) {
  return HandleSimulation(options).run();
}

}  // namespace mobula::sim
