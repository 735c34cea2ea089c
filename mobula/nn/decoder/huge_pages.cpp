#include "mobula/nn/decoder/huge_pages.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <new>

namespace mobula::nn {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kChunk = std::size_t{64} << 20;
constexpr std::size_t kAlignment = 64;

std::size_t round_up(std::size_t n, std::size_t step) {
  return (n + step - 1) / step * step;
}

}  // namespace

// Address space that begins and ends with huge pages. Only what is touched takes memory.
class HugePages::Chunk {
 public:
  explicit Chunk(std::size_t size) : size_(size), reserved_(size + kHugePage) {
    address_ = ::mmap(nullptr, reserved_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address_ == MAP_FAILED) throw std::bad_alloc();
    const auto at = reinterpret_cast<std::uintptr_t>(address_);
    begin_ = static_cast<std::byte*>(address_) + (round_up(at, kHugePage) - at);
#if defined(MADV_HUGEPAGE)
    // A system without huge pages refuses; ordinary ones serve as well.
    (void)::madvise(begin_, size_, MADV_HUGEPAGE);
#endif
  }
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;
  ~Chunk() {
    ::munmap(address_, reserved_);
  }

  std::byte* begin() const {
    return begin_;
  }
  std::size_t size() const {
    return size_;
  }

 private:
  std::size_t size_, reserved_;
  void* address_ = nullptr;
  std::byte* begin_ = nullptr;
};

HugePages::HugePages() = default;
HugePages::~HugePages() = default;

Array HugePages::empty(Shape shape, at::ScalarType type) {
  std::size_t bytes = element_size(type);
  for (const std::int64_t size : shape) bytes *= static_cast<std::size_t>(size);
  const std::lock_guard lock(mutex_);
  if (chunk_ == nullptr || chunk_->size() - used_ < bytes) {
    chunk_ = std::make_shared<Chunk>(std::max(kChunk, round_up(bytes, kHugePage)));
    used_ = 0;
  }
  std::byte* const begin = chunk_->begin() + used_;
  used_ = std::min(chunk_->size(), round_up(used_ + bytes, kAlignment));
  return {begin, std::move(shape), type, chunk_};
}

}  // namespace mobula::nn
