/// Memory for a step's numbers, kept for the next step.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace mobula::nn {

/// Numbers on whole cache lines; what they are is unspecified. Not thread-safe.
template <class T>
class AlignedBuffer {
 public:
  /// Returns room for `count` numbers. What was there is lost where it grows.
  T* sized(std::int64_t count) {
    if (count > count_) {
      release();
      const std::size_t bytes = (static_cast<std::size_t>(count) * sizeof(T) + kLine - 1) / kLine * kLine;
      data_ = {allocate(bytes), Free{bytes}};
      count_ = count;
    }
    return data_.get();
  }
  /// Gives the memory back; large parts of it to the system at once.
  void release() noexcept {
    data_.reset();
    count_ = 0;
  }
  T* data() noexcept { return data_.get(); }
  const T* data() const noexcept { return data_.get(); }

 private:
  static constexpr std::size_t kLine = 64;
  // From here on memory is mapped: what a heap gets back it may keep.
  static constexpr std::size_t kMapped = std::size_t{1} << 18;

  static T* allocate(std::size_t bytes) {
    void* data = nullptr;
    if (bytes >= kMapped) {
      data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (data == MAP_FAILED) throw std::bad_alloc();
    } else {
      data = std::aligned_alloc(kLine, bytes);
      if (data == nullptr) throw std::bad_alloc();
    }
    return static_cast<T*>(data);
  }
  struct Free {
    std::size_t bytes = 0;
    void operator()(T* data) const { bytes >= kMapped ? static_cast<void>(::munmap(data, bytes)) : std::free(data); }
  };
  std::unique_ptr<T, Free> data_;
  std::int64_t count_ = 0;
};

}  // namespace mobula::nn
