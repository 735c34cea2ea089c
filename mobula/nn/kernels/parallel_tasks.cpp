#include "mobula/nn/kernels/parallel_tasks.hpp"

#include "mobula/nn/kernels/buffer_pool.hpp"

namespace mobula::nn::kernels {

std::byte* thread_scratch(std::size_t bytes) {
  thread_local std::shared_ptr<std::byte> block;
  thread_local std::size_t size = 0;
  if (bytes > size) {
    block.reset();
    block = take_buffer(bytes);
    size = bytes;
  }
  return block.get();
}

}  // namespace mobula::nn::kernels
