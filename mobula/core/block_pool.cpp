#include "mobula/core/block_pool.hpp"

#include <cstdlib>
#include <mutex>

namespace mobula::block_pool {
namespace {

constexpr std::size_t kNumLists = kMaxPooledBytes / kBlockGranularity;
constexpr std::size_t kSlabBytes = std::size_t{1} << 18;

/// Batches that no thread has.
struct Shared {
  std::mutex mutex;
  Free* batches = nullptr;
  char* slab = nullptr;
  std::size_t slab_left = 0;
};

/// Leaked: threads may still give blocks back while static objects are destroyed.
Shared* shared_lists() {
  static Shared* const all = new Shared[kNumLists];
  return all;
}

/// Gives a thread's blocks to the others when it ends.
struct ThreadEnd {
  bool armed = false;
  ~ThreadEnd() {
    for (std::size_t index = 0; index < kNumLists; ++index) {
      List& list = lists[index];
      if (list.head == nullptr) continue;
      Shared& shared = shared_lists()[index];
      std::lock_guard lock(shared.mutex);
      list.head->next_batch = shared.batches;
      shared.batches = list.head;
      list = {};
    }
  }
};
thread_local ThreadEnd thread_end;

}  // namespace

constinit thread_local List lists[kNumLists];

void* refill(std::size_t index) {
  thread_end.armed = true;
  Shared& shared = shared_lists()[index];
  List& list = lists[index];
  const std::size_t size = (index + 1) * kBlockGranularity;
  std::lock_guard lock(shared.mutex);
  if (shared.batches != nullptr) {
    Free* batch = shared.batches;
    shared.batches = batch->next_batch;
    list.head = batch->next;
    // Batches that ending threads left may be shorter than a full one; counting costs what using them costs.
    list.count = 0;
    for (Free* block = list.head; block != nullptr; block = block->next) ++list.count;
    return batch;
  }
  if (shared.slab_left < size * kBatch) {
    shared.slab = static_cast<char*>(std::aligned_alloc(4096, kSlabBytes));
    if (shared.slab == nullptr) throw std::bad_alloc();
    shared.slab_left = kSlabBytes;
  }
  char* at = shared.slab;
  shared.slab += size * kBatch;
  shared.slab_left -= size * kBatch;
  // In the order of their addresses, which the hardware fetches ahead.
  for (int i = kBatch - 1; i >= 1; --i) {
    auto* block = reinterpret_cast<Free*>(at + static_cast<std::size_t>(i) * size);
    block->next = list.head;
    list.head = block;
  }
  list.count = kBatch - 1;
  return at;
}

void shed(std::size_t index) {
  thread_end.armed = true;
  List& list = lists[index];
  Free* batch = list.head;
  Free* last = batch;
  for (int i = 1; i < kBatch; ++i) last = last->next;
  list.head = last->next;
  list.count -= kBatch;
  last->next = nullptr;
  Shared& shared = shared_lists()[index];
  std::lock_guard lock(shared.mutex);
  batch->next_batch = shared.batches;
  shared.batches = batch;
}

}  // namespace mobula::block_pool
