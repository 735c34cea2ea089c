#include "mobula/core/local/shared_arena.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cerrno>

#include "mobula/base/error.hpp"

namespace mobula {
namespace {

std::uint64_t whole(std::uint64_t bytes, std::uint64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace

/// Classes in steps of an eighth to a quarter: 1 to 8 pages, then 10, 12, 14, 16, 20 ... 256.
std::size_t SharedArena::class_of(std::uint64_t pages) noexcept {
  if (pages <= 8) return pages == 0 ? 0 : pages - 1;
  const auto exponent = static_cast<std::uint64_t>(std::bit_width(pages - 1)) - 1;  // 8 < pages <= 16: 3
  const std::uint64_t step = std::uint64_t{1} << (exponent - 2);
  const std::uint64_t within = (pages - (std::uint64_t{1} << exponent) + step - 1) / step;  // 1 to 4
  return static_cast<std::size_t>(8 + (exponent - 3) * 4 + within - 1);
}

std::uint64_t SharedArena::class_pages(std::size_t index) noexcept {
  if (index < 8) return index + 1;
  const std::uint64_t exponent = (index - 8) / 4 + 3;
  return (std::uint64_t{1} << exponent) + ((index - 8) % 4 + 1) * (std::uint64_t{1} << (exponent - 2));
}

std::uint64_t SharedArena::footprint(std::uint64_t bytes) noexcept {
  if (bytes <= kMaxSmall) return class_pages(class_of(whole(bytes, kPage) / kPage)) * kPage;
  return whole(bytes, bytes < kMinHuge ? kPage : kHugePage);
}

SharedArena::SharedArena(std::uint64_t budget) : file_(memfd_create("mobula-objects", MFD_CLOEXEC)), driver_(true) {
  if (!file_) throw_io("shared memory can't be made", errno);
  if (ftruncate(file_.get(), static_cast<off_t>(kSpace)) != 0) throw_io("shared memory can't be made", errno);
  map();
  header().next_small = kPage;
  header().next_large = kLargeSpace;
  header().budget = budget;
}

SharedArena::SharedArena(Descriptor inherited) : file_(std::move(inherited)), driver_(false) {
  map();
}

SharedArena::~SharedArena() {
  if (base_ != nullptr) munmap(base_, kSpace);
}

void SharedArena::map() {
  // Huge pages are mapped only where addresses and the file's offsets are aligned alike.
  void* reserved = mmap(nullptr, kSpace + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) {
    throw_io("shared memory can't be mapped", errno, "raise the limit on address space (ulimit -v)");
  }
  char* start = static_cast<char*>(reserved);
  char* aligned = start + (kHugePage - reinterpret_cast<std::uintptr_t>(start) % kHugePage) % kHugePage;
  void* address = mmap(aligned, kSpace, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, file_.get(), 0);
  if (address == MAP_FAILED) {
    const int reason = errno;
    munmap(start, kSpace + kHugePage);
    throw_io("shared memory can't be mapped", reason, "raise the limit on address space (ulimit -v)");
  }
  if (aligned != start) munmap(start, static_cast<std::size_t>(aligned - start));
  if (aligned != start + kHugePage) munmap(aligned + kSpace, static_cast<std::size_t>(start + kHugePage - aligned));
  base_ = aligned;
  madvise(base_ + kLargeSpace, kSpace - kLargeSpace, MADV_HUGEPAGE);  // where it fails, pages are small
}

std::uint64_t SharedArena::try_allocate(std::uint64_t bytes, bool over_budget) {
  const std::uint64_t size = footprint(bytes);
  if (header().in_use.fetch_add(size) + size > header().budget && !over_budget) {
    header().in_use.fetch_sub(size);
    return 0;
  }
  const std::uint64_t offset = size <= kMaxSmall ? take_small(class_of(size / kPage)) : take_large(size);
  if (offset == 0) header().in_use.fetch_sub(size);
  return offset;
}

std::uint64_t SharedArena::take_small(std::size_t index) {
  std::atomic<std::uint64_t>& head = header().free_blocks[index];
  constexpr std::uint64_t kPageMask = (std::uint64_t{1} << kPageBits) - 1;
  std::uint64_t seen = head.load(std::memory_order_acquire);
  while ((seen & kPageMask) != 0) {
    const std::uint64_t page = seen & kPageMask;
    // Where another process takes it first, this reads what that wrote there, and the exchange fails.
    const std::uint64_t next = free_block(page).next_page.load(std::memory_order_relaxed) & kPageMask;
    const std::uint64_t kept = free_block(page).kept.load(std::memory_order_relaxed);
    const std::uint64_t changed = (((seen >> kPageBits) + 1) << kPageBits) | next;
    if (head.compare_exchange_weak(seen, changed, std::memory_order_acq_rel, std::memory_order_acquire)) {
      header().kept_small.fetch_sub(kept, std::memory_order_relaxed);
      return page * kPage;
    }
  }
  const std::uint64_t size = class_pages(index) * kPage;
  const std::uint64_t offset = header().next_small.fetch_add(size);
  return offset + size <= kLargeSpace ? offset : 0;
}

std::uint64_t SharedArena::take_large(std::uint64_t size) {
  if (driver_) {
    std::lock_guard lock(mutex_);
    if (const auto found = kept_.find(size); found != kept_.end()) {
      const std::uint64_t offset = found->second;
      kept_.erase(found);
      kept_bytes_ -= size;
      return offset;
    }
    if (size >= kMinHuge) {
      // A range of huge pages begins at one: take what is over, too, and give it back.
      if (const auto offset = free_large_.take(size + kHugePage - kPage)) {
        const std::uint64_t begin = whole(*offset, kHugePage);
        if (begin != *offset) free_large_.give(*offset, begin - *offset);
        const std::uint64_t over = *offset + kHugePage - kPage - begin;
        if (over != 0) free_large_.give(begin + size, over);
        return begin;
      }
    } else if (const auto offset = free_large_.take(size)) {
      return *offset;
    }
    // Memory that is only kept makes room for what is used.
    while (!kept_.empty() && header().in_use.load() + kept_bytes_ > header().budget) {
      const auto [kept_size, offset] = *kept_.begin();
      kept_.erase(kept_.begin());
      kept_bytes_ -= kept_size;
      punch(offset, kept_size);
      free_large_.give(offset, kept_size);
    }
  }
  const std::uint64_t room = size >= kMinHuge ? size + kHugePage - kPage : size;
  const std::uint64_t offset = header().next_large.fetch_add(room);
  if (offset + room > kSpace) return 0;
  if (room == size) return offset;
  const std::uint64_t begin = whole(offset, kHugePage);
  if (driver_) {
    std::lock_guard lock(mutex_);
    if (begin != offset) free_large_.give(offset, begin - offset);
    if (begin + size != offset + room) free_large_.give(begin + size, offset + room - begin - size);
  }
  return begin;
}

void SharedArena::free(std::uint64_t offset, std::uint64_t bytes) {
  const std::uint64_t size = footprint(bytes);
  header().in_use.fetch_sub(size);
  if (size > kMaxSmall) {
    give_large(offset, size);
    return;
  }
  std::atomic<std::uint64_t>& head = header().free_blocks[class_of(size / kPage)];
  const std::uint64_t page = offset / kPage;
  const bool keep = size < 8 * kPage || header().kept_small.load(std::memory_order_relaxed) + size <= kMaxKeptSmall;
  if (!keep) punch(offset + kPage, size - kPage);
  free_block(page).kept.store(keep ? size : kPage, std::memory_order_relaxed);
  header().kept_small.fetch_add(keep ? size : kPage, std::memory_order_relaxed);
  std::uint64_t seen = head.load(std::memory_order_acquire);
  do {
    free_block(page).next_page.store(seen & ((std::uint64_t{1} << kPageBits) - 1), std::memory_order_relaxed);
  } while (!head.compare_exchange_weak(seen, (((seen >> kPageBits) + 1) << kPageBits) | page, std::memory_order_acq_rel,
                                       std::memory_order_acquire));
}

void SharedArena::give_large(std::uint64_t offset, std::uint64_t size) {
  std::lock_guard lock(mutex_);
  if (kept_bytes_ + size <= kMaxKept && header().in_use.load() + kept_bytes_ + size <= header().budget) {
    kept_.emplace(size, offset);
    kept_bytes_ += size;
    return;
  }
  punch(offset, size);
  free_large_.give(offset, size);
}

void SharedArena::punch(std::uint64_t offset, std::uint64_t size) const {
  fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
            static_cast<off_t>(size));
}

}  // namespace mobula
