/// Numbered places for many values: growing moves nothing and copies nothing, numbers stay small.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace mobula {

/// Values by number, from 0 on, in blocks. Not thread-safe.
template <class T, std::size_t kPerBlock = 1024>
class Slab {
 public:
  std::size_t size() const noexcept { return blocks_.size() * kPerBlock; }
  /// Makes room for the value `number`; those below it get room too.
  void reach(std::size_t number) {
    while (number >= size()) blocks_.push_back(std::make_unique<std::array<T, kPerBlock>>());
  }
  T& operator[](std::size_t number) noexcept { return (*blocks_[number / kPerBlock])[number % kPerBlock]; }
  const T& operator[](std::size_t number) const noexcept { return (*blocks_[number / kPerBlock])[number % kPerBlock]; }

 private:
  std::vector<std::unique_ptr<std::array<T, kPerBlock>>> blocks_;
};

}  // namespace mobula
