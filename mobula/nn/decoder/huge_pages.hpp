/// Memory for weights in huge pages, where the system gives them: fewer look-ups of addresses while all of it is read for
/// every token.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>

#include "mobula/nn/array.hpp"

namespace mobula::nn {

/// Hands out arrays that lie close together, so that few huge pages are left half empty. Thread-safe. The memory lives as
/// long as an array over it.
class HugePages {
 public:
  HugePages();
  ~HugePages();
  HugePages(const HugePages&) = delete;
  HugePages& operator=(const HugePages&) = delete;

  /// Returns an array of undefined content, aligned to 64 bytes. Throws std::bad_alloc.
  Array empty(Shape shape, at::ScalarType type);

 private:
  class Chunk;
  std::mutex mutex_;
  std::shared_ptr<Chunk> chunk_;
  std::size_t used_ = 0;  // of the chunk
};

}  // namespace mobula::nn
