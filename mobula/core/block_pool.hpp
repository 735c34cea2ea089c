/// Small blocks of memory that one thread takes and another gives back: tasks and their results live in them.
///
/// Each thread keeps a short array of free blocks of each size and trades them with the others a batch at a time, so that
/// a task that is made here and ends there costs no lock and no system call. Arrays, as in Bonwick and Adams, "Magazines
/// and Vmem" (2001): a free block is not read to find the next one, which would wait for it to come from the cache of the
/// thread that gave it back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

namespace mobula {

/// Blocks up to this size come from the lists; larger ones from operator new.
inline constexpr std::size_t kMaxPooledBytes = 512;
inline constexpr std::size_t kBlockGranularity = 64;

namespace block_pool {

/// One thread's free blocks of one size.
struct List {
  void** blocks = nullptr;  ///< `capacity` of them; before the first lie kAhead more readable entries
  std::uint32_t count = 0;
  std::uint32_t capacity = 0;
};

/// Number of blocks that change hands at once.
inline constexpr std::uint32_t kBatch = 64;
/// How many allocations ahead a block is fetched from wherever it was used last.
inline constexpr std::uint32_t kAhead = 4;

// The model makes an access one instruction; the library is always loaded with the program that uses it.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local List lists[kMaxPooledBytes / kBlockGranularity];

/// Takes a batch from the other threads, or from the system, and returns one more block.
void* refill(std::size_t list);
/// Gives a batch to the other threads, and keeps `block`.
void shed(std::size_t list, void* block) noexcept;

}  // namespace block_pool

/// Returns memory for `bytes`, aligned to a cache line. Throws std::bad_alloc.
inline void* allocate_block(std::size_t bytes) {
  if (bytes > kMaxPooledBytes) return ::operator new (bytes, std::align_val_t{kBlockGranularity});
  const std::size_t index = (bytes - 1) / kBlockGranularity;
  block_pool::List& list = block_pool::lists[index];
  if (list.count == 0) return block_pool::refill(index);
  void** top = list.blocks + --list.count;
  __builtin_prefetch(*(top - block_pool::kAhead), 1);
  return *top;
}

/// Gives a block back; `bytes` as it was asked for. Any thread may.
inline void free_block(void* memory, std::size_t bytes) noexcept {
  if (bytes > kMaxPooledBytes) {
    ::operator delete (memory, std::align_val_t{kBlockGranularity});
    return;
  }
  const std::size_t index = (bytes - 1) / kBlockGranularity;
  block_pool::List& list = block_pool::lists[index];
  if (list.count == list.capacity) {
    block_pool::shed(index, memory);
    return;
  }
  list.blocks[list.count++] = memory;
}

}  // namespace mobula
