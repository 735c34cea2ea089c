/// Memory for weights in huge pages, where the system gives them: fewer look-ups of addresses while all of it is read for
/// every token.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <memory>
#include <mutex>

namespace mobula::nn {

/// Hands out tensors that lie close together, so that few huge pages are left half empty. Thread-safe. The memory lives as
/// long as a tensor over it.
class HugePages {
 public:
  HugePages();
  ~HugePages();
  HugePages(const HugePages&) = delete;
  HugePages& operator=(const HugePages&) = delete;

  /// Returns a tensor of undefined content, aligned to 64 bytes. Throws std::bad_alloc.
  at::Tensor empty(at::IntArrayRef shape, at::ScalarType type);

 private:
  class Chunk;
  std::mutex mutex_;
  std::shared_ptr<Chunk> chunk_;
  std::size_t used_ = 0;  // of the chunk
};

}  // namespace mobula::nn
