/// Calls on their way to worker processes and results on their way back, in shared memory.
///
/// A call sits in a slot from its submission to its end. Every step of its life is one atomic write, so a worker may be
/// killed between any two instructions: the driver finds in the slots what it was doing.
#pragma once

#include <atomic>
#include <cstdint>

namespace mobula {

/// What a slot holds.
enum class SlotState : std::uint16_t { free, ready, running, succeeded, failed };

/// One call. The driver writes it while it is free, the worker that claimed it while it runs.
struct alignas(64) TaskSlot {
  static constexpr std::size_t kInlineBytes = 408;

  /// Turn number (upper half), worker (next 16 bits), SlotState (lowest).
  std::atomic<std::uint64_t> state;
  std::atomic<std::uint32_t> cancelled;
  std::uint32_t function;                      ///< index into the function table
  std::uint64_t size;                          ///< bytes of the arguments, later of the result
  std::uint64_t offset;                        ///< where in the arena they are; 0: in `bytes`
  std::atomic<std::uint64_t> result_offset;    ///< the arena's bytes a running worker has taken for its result
  std::atomic<std::uint64_t> result_reserved;  ///< as many as these were asked for
  std::atomic<std::uint64_t> result_size;
  std::atomic<std::int64_t> begin;  ///< when it began and ended to run, where calls are recorded; else 0
  std::atomic<std::int64_t> end;
  std::atomic<std::uint64_t> id;              ///< by which workers know the call; 0: they don't
  std::uint64_t num_frames;                   ///< that the worker had sent when the call ended: it stands on those
  std::atomic<std::uint64_t> handles_offset;  ///< in the arena: numbers of handles; 0: there are none
  std::uint32_t num_borrowed;                 ///< of them, first: those that the worker keeps
  std::uint32_t num_inner;                    ///< then: those in the result
  char bytes[kInlineBytes];

  static constexpr std::uint64_t pack(std::uint32_t turn, std::uint32_t worker, SlotState state) {
    return (std::uint64_t{turn} << 32) | (std::uint64_t{worker} << 16) | static_cast<std::uint64_t>(state);
  }
  static constexpr std::uint32_t turn_of(std::uint64_t state) { return static_cast<std::uint32_t>(state >> 32); }
  static constexpr std::uint32_t worker_of(std::uint64_t state) { return (state >> 16) & 0xffffU; }
  static constexpr SlotState kind_of(std::uint64_t state) { return static_cast<SlotState>(state & 0xffffU); }
};

/// A queue of calls for one actor, or for all workers that run tasks.
struct TaskChannel {
  static constexpr std::uint32_t kMaxSlots = 1024;
  /// Between the oldest call and the newest there may be as many again that were claimed out of turn.
  static constexpr std::uint32_t kRingSize = 2 * kMaxSlots;

  std::uint32_t num_slots;
  alignas(64) std::atomic<std::uint32_t> head;      ///< next call to be claimed
  alignas(64) std::atomic<std::uint32_t> tail;      ///< where the driver adds
  alignas(64) std::atomic<std::uint32_t> doorbell;  ///< workers sleep on it
  std::atomic<std::uint32_t> num_sleeping;
  std::atomic<std::uint32_t> surplus;  ///< workers that are to stop looking: others' waits are over
  std::atomic<std::uint32_t> spinner;  ///< the worker that looks without sleeping; 0: none
  alignas(64) std::atomic<std::uint64_t> done[kMaxSlots / 64];  ///< slots whose call has ended
  std::atomic<std::uint16_t> ring[kRingSize];                   ///< slots in the order of their calls
  TaskSlot slots[1];                                            ///< num_slots of them

  static constexpr std::size_t bytes_for(std::uint32_t num_slots) {
    return sizeof(TaskChannel) + sizeof(TaskSlot) * num_slots;
  }

  /// Driver: shows a filled slot to the workers and wakes one where all sleep. Turns grow; one may be left out.
  void push(std::uint32_t slot, std::uint32_t turn);
  /// Driver: wakes all workers that sleep, where there is a call.
  void wake_all();
  /// Worker: claims the oldest call; returns its slot, or null where there is none.
  TaskSlot* claim(std::uint32_t worker);
  /// Worker: claims the call of that number out of turn; returns its slot, or null where it is not waiting here.
  TaskSlot* claim_call(std::uint64_t id, std::uint32_t worker);
  /// Worker: wakes another where calls wait and somebody sleeps.
  void pass_on();
  bool empty() const noexcept { return head.load() == tail.load(); }
};

/// Where a function is, for workers that have not loaded its library.
struct SharedFunction {
  std::uint64_t offset;  ///< in the arena: "path\0key"
  std::uint32_t size;
};

/// What the driver and all workers share, on the arena's first pages after its header.
struct SharedControl {
  static constexpr std::uint32_t kMaxFunctions = 8192;
  alignas(64) std::atomic<std::uint32_t> completions;  ///< counts ended calls; the driver sleeps on it
  std::atomic<std::uint32_t> recording;                ///< 1: workers note when calls begin and end
  std::atomic<std::uint32_t> num_polling;              ///< driver threads that look by themselves
  alignas(64) std::atomic<std::uint32_t> num_functions;
  SharedFunction functions[kMaxFunctions];
  std::atomic<std::uint32_t>
      parked[1U << 16];  ///< by worker: 1 while it has stopped looking, until the driver wakes it
};

}  // namespace mobula
