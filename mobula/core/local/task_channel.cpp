#include "mobula/core/local/task_channel.hpp"

#include <limits>

#include "mobula/core/local/futex.hpp"

namespace mobula {

void TaskChannel::push(std::uint32_t slot, std::uint32_t turn) {
  ring[turn % kRingSize].store(static_cast<std::uint16_t>(slot), std::memory_order_relaxed);
  slots[slot].state.store(TaskSlot::pack(turn, 0, SlotState::ready), std::memory_order_release);
  tail.store(turn + 1, std::memory_order_seq_cst);
  if (num_sleeping.load(std::memory_order_seq_cst) == 0 || spinner.load(std::memory_order_seq_cst) != 0) return;
  doorbell.fetch_add(1, std::memory_order_seq_cst);
  futex_wake(&doorbell, 1, FutexScope::shared);
}

void TaskChannel::wake_all() {
  if (empty()) return;
  doorbell.fetch_add(1, std::memory_order_seq_cst);
  futex_wake(&doorbell, std::numeric_limits<int>::max(), FutexScope::shared);
}

TaskSlot* TaskChannel::claim(std::uint32_t worker) {
  for (;;) {
    std::uint32_t turn = head.load(std::memory_order_acquire);
    if (turn == tail.load(std::memory_order_acquire)) return nullptr;
    TaskSlot& slot = slots[ring[turn % kRingSize].load(std::memory_order_relaxed) % num_slots];
    std::uint64_t expected = TaskSlot::pack(turn, 0, SlotState::ready);
    const bool claimed = slot.state.compare_exchange_strong(expected, TaskSlot::pack(turn, worker, SlotState::running),
                                                            std::memory_order_acq_rel);
    // Whoever sees the call claimed moves on, so that a worker that dies right here stops nobody.
    head.compare_exchange_strong(turn, turn + 1, std::memory_order_acq_rel);
    if (claimed) return &slot;
  }
}

TaskSlot* TaskChannel::claim_call(std::uint64_t id, std::uint32_t worker) {
  const std::uint32_t first = head.load(std::memory_order_acquire);
  const std::uint32_t end = tail.load(std::memory_order_acquire);
  if (end - first > kMaxSlots) return nullptr;
  for (std::uint32_t turn = end; turn != first; --turn) {
    TaskSlot& slot = slots[ring[(turn - 1) % kRingSize].load(std::memory_order_relaxed) % num_slots];
    std::uint64_t expected = TaskSlot::pack(turn - 1, 0, SlotState::ready);
    if (slot.state.load(std::memory_order_acquire) != expected) continue;
    if (slot.id.load(std::memory_order_relaxed) != id) continue;
    const std::uint64_t running = TaskSlot::pack(turn - 1, worker, SlotState::running);
    return slot.state.compare_exchange_strong(expected, running, std::memory_order_acq_rel) ? &slot : nullptr;
  }
  return nullptr;
}

void TaskChannel::pass_on() {
  if (empty() || num_sleeping.load(std::memory_order_seq_cst) == 0) return;
  doorbell.fetch_add(1, std::memory_order_seq_cst);
  futex_wake(&doorbell, 1, FutexScope::shared);
}

}  // namespace mobula
