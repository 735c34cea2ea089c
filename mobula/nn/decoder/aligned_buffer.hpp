/// Memory for a step's numbers, kept for the next step.
#pragma once

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
      data_.reset();
      count_ = 0;
      const std::size_t bytes = (static_cast<std::size_t>(count) * sizeof(T) + kLine - 1) / kLine * kLine;
      data_.reset(static_cast<T*>(std::aligned_alloc(kLine, bytes)));
      if (data_ == nullptr) throw std::bad_alloc();
      count_ = count;
    }
    return data_.get();
  }
  T* data() noexcept { return data_.get(); }
  const T* data() const noexcept { return data_.get(); }

 private:
  static constexpr std::size_t kLine = 64;
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T, Free> data_;
  std::int64_t count_ = 0;
};

}  // namespace mobula::nn
