/// Memory that the driver and its worker processes share: one anonymous file, mapped by each, gone with the last of them.
///
/// Addresses are only ever handed out once, by one atomic addition that any process may make and die after; what is no
/// longer needed is given back to the system page by page (the file stays sparse), or kept for the driver's next object
/// of that size, whose pages are then there already.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>

#include "mobula/core/local/worker_process.hpp"
#include "mobula/core/object.hpp"

namespace mobula {

class SharedArena {
 public:
  /// Address space of an arena: not memory, which is only what is in use.
  static constexpr std::uint64_t kSpace = std::uint64_t{1} << 44;
  static constexpr std::uint64_t kPage = 4096;

  /// Makes an arena whose objects may take `budget` bytes.
  explicit SharedArena(std::uint64_t budget);
  /// Maps the arena of the parent process.
  explicit SharedArena(Descriptor inherited);
  SharedArena(const SharedArena&) = delete;
  SharedArena& operator=(const SharedArena&) = delete;
  ~SharedArena();

  int descriptor() const noexcept { return file_.get(); }
  char* at(std::uint64_t offset) const noexcept { return base_ + offset; }
  /// Sets whole pages aside. Throws OutOfMemoryError where the budget is used up. Any process.
  std::uint64_t allocate(std::uint64_t bytes);
  /// Gives them back. The driver only.
  void free(std::uint64_t offset, std::uint64_t bytes);
  std::uint64_t bytes_in_use() const noexcept;

 private:
  /// At the arena's start.
  struct Header {
    std::atomic<std::uint64_t> next;
    std::atomic<std::uint64_t> in_use;
    std::uint64_t budget;
  };
  Header& header() const noexcept { return *reinterpret_cast<Header*>(base_); }
  void map();

  static constexpr std::uint64_t kMaxKept = std::uint64_t{256} << 20;

  Descriptor file_;
  char* base_ = nullptr;
  std::mutex mutex_;
  std::multimap<std::uint64_t, std::uint64_t> kept_;  ///< sizes and offsets of freed pages that are still there
  std::uint64_t kept_bytes_ = 0;
};

/// A value's bytes in an arena, given back at the end.
class ArenaBytes final : public StoredBytes {
 public:
  ArenaBytes(std::shared_ptr<SharedArena> arena, std::uint64_t offset, std::uint64_t size)
      : arena_(std::move(arena)), offset_(offset), size_(size) {}
  ArenaBytes(const ArenaBytes&) = delete;
  ArenaBytes& operator=(const ArenaBytes&) = delete;
  ~ArenaBytes() override { arena_->free(offset_, size_); }
  std::string_view bytes() const override { return {arena_->at(offset_), size_}; }
  std::uint64_t offset() const noexcept { return offset_; }

 private:
  std::shared_ptr<SharedArena> arena_;
  std::uint64_t offset_;
  std::uint64_t size_;
};

}  // namespace mobula
