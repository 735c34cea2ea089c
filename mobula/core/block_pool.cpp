#include "mobula/core/block_pool.hpp"

#include <algorithm>
#include <cstdlib>
#include <mutex>

namespace mobula::block_pool {
namespace {

constexpr std::size_t kNumLists = kMaxPooledBytes / kBlockGranularity;
constexpr std::size_t kSlabBytes = std::size_t{1} << 18;
constexpr std::uint32_t kCapacity = 2 * kBatch;

/// A free block that names others: how blocks wait between threads, at no memory of their own.
struct Bundle {
  Bundle* next;
  std::size_t count;
  void* blocks[1];  ///< as many as the block has room for
};

constexpr std::size_t room(std::size_t index) {
  return ((index + 1) * kBlockGranularity - offsetof(Bundle, blocks)) / sizeof(void*);
}

/// Blocks that no thread has.
struct Shared {
  std::mutex mutex;
  Bundle* bundles = nullptr;
  char* slab = nullptr;
  std::size_t slab_left = 0;
};

/// Leaked: threads may still give blocks back while static objects are destroyed.
Shared* shared_lists() {
  static Shared* const all = new Shared[kNumLists];
  return all;
}

/// Links `count` blocks into bundles. Returns the first; `last` receives the one whose `next` is open.
Bundle* bundle(std::size_t index, void** blocks, std::size_t count, Bundle*& last) {
  Bundle* first = nullptr;
  last = nullptr;
  while (count > 0) {
    auto* made = static_cast<Bundle*>(blocks[--count]);
    made->count = std::min(count, room(index));
    count -= made->count;
    std::copy_n(blocks + count, made->count, made->blocks);
    made->next = first;
    if (first == nullptr) last = made;
    first = made;
  }
  return first;
}

void give_away(std::size_t index, void** blocks, std::size_t count) {
  if (count == 0) return;
  Bundle* last = nullptr;
  Bundle* first = bundle(index, blocks, count, last);
  Shared& shared = shared_lists()[index];
  std::lock_guard lock(shared.mutex);
  last->next = shared.bundles;
  shared.bundles = first;
}

/// Gives a thread's blocks to the others when it ends.
struct ThreadEnd {
  bool armed = false;
  ~ThreadEnd();
};
thread_local ThreadEnd thread_end;
constinit thread_local bool thread_ended = false;

ThreadEnd::~ThreadEnd() {
  thread_ended = true;
  for (std::size_t index = 0; index < kNumLists; ++index) {
    List& list = lists[index];
    give_away(index, list.blocks, list.count);
    if (list.blocks != nullptr) std::free(list.blocks - kAhead);
    list = {};
  }
}

/// Makes the thread's array at its first use. Returns false where there is no memory for it, or the thread is ending.
bool prepare(List& list) noexcept {
  if (list.blocks != nullptr) return true;
  if (thread_ended) return false;
  thread_end.armed = true;
  auto* memory = static_cast<void**>(std::calloc(kCapacity + kAhead, sizeof(void*)));
  if (memory == nullptr) return false;
  list.blocks = memory + kAhead;
  list.capacity = kCapacity;
  return true;
}

}  // namespace

constinit thread_local List lists[kNumLists];

void* refill(std::size_t index) {
  List& list = lists[index];
  Shared& shared = shared_lists()[index];
  const std::size_t size = (index + 1) * kBlockGranularity;
  const bool keeps_some = prepare(list);
  std::lock_guard lock(shared.mutex);
  if (!keeps_some && shared.bundles != nullptr) {
    Bundle* first = shared.bundles;
    if (first->count > 0) return first->blocks[--first->count];
    shared.bundles = first->next;
    return first;
  }
  while (shared.bundles != nullptr && list.count + room(index) + 1 <= kBatch) {
    Bundle* taken = shared.bundles;
    shared.bundles = taken->next;
    std::copy_n(taken->blocks, taken->count, list.blocks + list.count);
    list.count += static_cast<std::uint32_t>(taken->count);
    list.blocks[list.count++] = taken;
  }
  if (list.count > 0) return list.blocks[--list.count];
  const std::size_t num_new = keeps_some ? kBatch : 1;
  if (shared.slab_left < size * num_new) {
    shared.slab = static_cast<char*>(std::aligned_alloc(4096, kSlabBytes));
    if (shared.slab == nullptr) throw std::bad_alloc();
    shared.slab_left = kSlabBytes;
  }
  char* at = shared.slab;
  shared.slab += size * num_new;
  shared.slab_left -= size * num_new;
  // Taken in the order of their addresses, which the hardware fetches ahead.
  for (std::size_t i = num_new - 1; i >= 1; --i) list.blocks[list.count++] = at + i * size;
  return at;
}

void shed(std::size_t index, void* block) noexcept {
  List& list = lists[index];
  if (!prepare(list)) {
    give_away(index, &block, 1);
    return;
  }
  if (list.count == list.capacity) {
    // Those given back first, which this thread's cache has kept least.
    give_away(index, list.blocks, kBatch);
    std::copy_n(list.blocks + kBatch, list.count - kBatch, list.blocks);
    list.count -= kBatch;
  }
  list.blocks[list.count++] = block;
}

}  // namespace mobula::block_pool
