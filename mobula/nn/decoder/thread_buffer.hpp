// Memory of a thread's own, for kernels.
#pragma once

#include <stdlib.h>

#include <cstddef>

namespace mobula::nn {
namespace {

// Memory on whole cache lines that a thread keeps from call to call; what it held is lost when it grows.
class ThreadBuffer {
 public:
  ThreadBuffer() = default;
  ThreadBuffer(const ThreadBuffer&) = delete;
  ThreadBuffer& operator=(const ThreadBuffer&) = delete;
  ~ThreadBuffer() { free(data_); }

  void* sized(std::size_t bytes) {
    if (bytes > size_) {
      free(data_);
      size_ = (bytes + 4095) / 4096 * 4096;
      data_ = aligned_alloc(64, size_);
    }
    return data_;
  }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace
}  // namespace mobula::nn
