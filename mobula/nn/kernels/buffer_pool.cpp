#include "mobula/nn/kernels/buffer_pool.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <new>
#include <vector>

namespace mobula::nn::kernels {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

class BufferPool {
 public:
  std::byte* take(std::size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      used_ += bytes;
      most_used_ = std::max(most_used_, used_);
      const auto found = idle_.find(bytes);
      if (found != idle_.end() && !found->second.empty()) {
        std::byte* block = found->second.back();
        found->second.pop_back();
        idle_bytes_ -= bytes;
        return block;
      }
    }
    const std::size_t alignment = alignment_of(bytes);
    auto* block = static_cast<std::byte*>(::operator new(bytes, std::align_val_t(alignment)));
    if (alignment == kHugePage) ::madvise(block, bytes, MADV_HUGEPAGE);  // a hint: refusal changes nothing
    return block;
  }

  void give_back(std::byte* block, std::size_t bytes) noexcept {
    try {
      const std::lock_guard lock(mutex_);
      used_ -= bytes;
      if (used_ + idle_bytes_ + bytes <= most_used_) {
        idle_[bytes].push_back(block);
        idle_bytes_ += bytes;
        return;
      }
    } catch (const std::bad_alloc&) {
      // No memory to remember it by: let it go.
    }
    release(block, bytes);
  }

  std::size_t idle_bytes() {
    const std::lock_guard lock(mutex_);
    return idle_bytes_;
  }

  void trim() {
    const std::lock_guard lock(mutex_);
    for (auto& [bytes, blocks] : idle_) {
      for (std::byte* block : blocks) release(block, bytes);
    }
    idle_.clear();
    idle_bytes_ = 0;
    most_used_ = used_;
  }

 private:
  static std::size_t alignment_of(std::size_t bytes) { return bytes >= kHugePage ? kHugePage : kAlignment; }
  static void release(std::byte* block, std::size_t bytes) noexcept {
    ::operator delete(block, std::align_val_t(alignment_of(bytes)));
  }

  std::mutex mutex_;
  std::map<std::size_t, std::vector<std::byte*>> idle_;
  std::size_t idle_bytes_ = 0;
  std::size_t used_ = 0;
  std::size_t most_used_ = 0;
};

// Never destroyed: tensors of other static objects may come back after main().
BufferPool& pool() {
  static auto* instance = new BufferPool;
  return *instance;
}

}  // namespace

std::shared_ptr<std::byte> take_buffer(std::size_t bytes) {
  const std::size_t rounded = std::max<std::size_t>(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  return {pool().take(rounded), [rounded](std::byte* block) { pool().give_back(block, rounded); }};
}

std::size_t idle_buffer_bytes() {
  return pool().idle_bytes();
}

void trim_buffers() {
  pool().trim();
}

}  // namespace mobula::nn::kernels
