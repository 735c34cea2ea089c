#include "mobula/core/local/shared_arena.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "mobula/base/size.hpp"
#include "mobula/core/errors.hpp"

namespace mobula {
namespace {

std::uint64_t whole_pages(std::uint64_t bytes) {
  return (bytes + SharedArena::kPage - 1) / SharedArena::kPage * SharedArena::kPage;
}

}  // namespace

SharedArena::SharedArena(std::uint64_t budget) : file_(memfd_create("mobula-objects", MFD_CLOEXEC)) {
  if (!file_) throw_io("shared memory can't be made", errno);
  if (ftruncate(file_.get(), static_cast<off_t>(kSpace)) != 0) throw_io("shared memory can't be made", errno);
  map();
  header().next = kPage;
  header().budget = budget;
}

SharedArena::SharedArena(Descriptor inherited) : file_(std::move(inherited)) {
  map();
}

SharedArena::~SharedArena() {
  if (base_ != nullptr) munmap(base_, kSpace);
}

void SharedArena::map() {
  void* address = mmap(nullptr, kSpace, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file_.get(), 0);
  if (address == MAP_FAILED)
    throw_io("shared memory can't be mapped", errno, "raise the limit on address space (ulimit -v)");
  base_ = static_cast<char*>(address);
}

std::uint64_t SharedArena::allocate(std::uint64_t bytes) {
  const std::uint64_t size = whole_pages(bytes);
  {
    std::lock_guard lock(mutex_);
    if (const auto found = kept_.find(size); found != kept_.end()) {
      const std::uint64_t offset = found->second;
      kept_.erase(found);
      kept_bytes_ -= size;
      header().in_use.fetch_add(size);
      return offset;
    }
  }
  if (header().in_use.fetch_add(size) + size > header().budget) {
    header().in_use.fetch_sub(size);
    throw OutOfMemoryError(fmt::format("an object of {} does not fit: {} of the {} for objects are in use",
                                       format_size(bytes), format_size(bytes_in_use()), format_size(header().budget)),
                           "drop Refs you no longer need, or raise --memory");
  }
  const std::uint64_t offset = header().next.fetch_add(size);
  if (offset + size > kSpace) throw OutOfMemoryError("the shared address space is used up", "start the program again");
  return offset;
}

void SharedArena::free(std::uint64_t offset, std::uint64_t bytes) {
  const std::uint64_t size = whole_pages(bytes);
  header().in_use.fetch_sub(size);
  {
    std::lock_guard lock(mutex_);
    if (kept_bytes_ + size <= kMaxKept) {
      kept_.emplace(size, offset);
      kept_bytes_ += size;
      return;
    }
  }
  fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
            static_cast<off_t>(size));
}

std::uint64_t SharedArena::bytes_in_use() const noexcept {
  return header().in_use.load();
}

}  // namespace mobula
