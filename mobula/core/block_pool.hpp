/// Small blocks of memory that one thread takes and another gives back: tasks and their results live in them.
///
/// Each thread keeps a short list of free blocks of each size and trades them with the others a batch at a time, so that
/// a task that is made here and ends there costs no lock and no system call.
#pragma once

#include <cstddef>
#include <new>

namespace mobula {

/// Blocks up to this size come from the lists; larger ones from operator new.
inline constexpr std::size_t kMaxPooledBytes = 512;
inline constexpr std::size_t kBlockGranularity = 64;

namespace block_pool {

/// A free block.
struct Free {
  Free* next;
  Free* next_batch;
};
/// One thread's free blocks of one size.
struct List {
  Free* head = nullptr;
  int count = 0;
};

/// Number of blocks that change hands at once.
inline constexpr int kBatch = 64;

// The model makes an access one instruction; the library is always loaded with the program that uses it.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local List lists[kMaxPooledBytes / kBlockGranularity];

/// Takes a batch from the other threads, or from the system.
void* refill(std::size_t list);
/// Gives a batch to the other threads.
void shed(std::size_t list);

}  // namespace block_pool

/// Returns memory for `bytes`, aligned to a cache line. Throws std::bad_alloc.
inline void* allocate_block(std::size_t bytes) {
  if (bytes > kMaxPooledBytes) return ::operator new (bytes, std::align_val_t{kBlockGranularity});
  const std::size_t index = (bytes - 1) / kBlockGranularity;
  block_pool::List& list = block_pool::lists[index];
  if (list.head == nullptr) return block_pool::refill(index);
  block_pool::Free* block = list.head;
  list.head = block->next;
  --list.count;
  return block;
}

/// Gives a block back; `bytes` as it was asked for. Any thread may.
inline void free_block(void* memory, std::size_t bytes) noexcept {
  if (bytes > kMaxPooledBytes) {
    ::operator delete (memory, std::align_val_t{kBlockGranularity});
    return;
  }
  const std::size_t index = (bytes - 1) / kBlockGranularity;
  block_pool::List& list = block_pool::lists[index];
  auto* block = static_cast<block_pool::Free*>(memory);
  block->next = list.head;
  list.head = block;
  if (++list.count >= 2 * block_pool::kBatch) block_pool::shed(index);
}

}  // namespace mobula
