/// Memory that the driver and its worker processes share: one anonymous file, mapped by each, gone with the last of them.
///
/// Blocks up to 1 MiB come in size classes from lists that any process may take from with one atomic step, and die after.
/// Larger ones are ranges of an address space of their own, in huge pages where the system has them; the driver keeps
/// some of what is given back as it is, so that the next object of that size pays for no page fault, and returns the
/// rest to the system (the file stays sparse).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

#include "mobula/base/descriptor.hpp"
#include "mobula/core/local/free_ranges.hpp"

namespace mobula {

class SharedArena {
 public:
  /// Address space of an arena: not memory, which is only what is in use.
#ifdef __SANITIZE_THREAD__
  static constexpr std::uint64_t kSpace = std::uint64_t{1} << 36;  // its map of the memory has no room for more
#else
  static constexpr std::uint64_t kSpace = std::uint64_t{1} << 44;
#endif
  static constexpr std::uint64_t kPage = 4096;
  static constexpr std::uint64_t kHugePage = std::uint64_t{2} << 20;
  static constexpr std::uint64_t kMaxSmall = std::uint64_t{1} << 20;
  /// Blocks of at least this size are whole huge pages.
  static constexpr std::uint64_t kMinHuge = std::uint64_t{16} << 20;

  /// Makes an arena whose blocks may take `budget` bytes.
  explicit SharedArena(std::uint64_t budget);
  /// Maps the arena of the parent process.
  explicit SharedArena(Descriptor inherited);
  SharedArena(const SharedArena&) = delete;
  SharedArena& operator=(const SharedArena&) = delete;
  ~SharedArena();

  int descriptor() const noexcept {
    return file_.get();
  }
  char* at(std::uint64_t offset) const noexcept {
    return base_ + offset;
  }
  /// Returns what a block for `bytes` counts against the budget.
  static std::uint64_t footprint(std::uint64_t bytes) noexcept;
  /// Sets a block aside; its content is unspecified. Returns 0 where the budget has no room, unless it
  /// is to be passed over. Any process.
  std::uint64_t try_allocate(std::uint64_t bytes, bool over_budget = false);
  /// Gives a block back; `bytes` as it was asked for. The driver only.
  void free(std::uint64_t offset, std::uint64_t bytes);
  std::uint64_t bytes_in_use() const noexcept {
    return header().in_use.load();
  }
  std::uint64_t budget() const noexcept {
    return header().budget;
  }

 private:
  static constexpr std::size_t kNumClasses = 28;
  /// At the arena's start.
  struct Header {
    std::atomic<std::uint64_t> next_small;
    std::atomic<std::uint64_t> next_large;
    std::atomic<std::uint64_t> in_use;
    std::uint64_t budget;
    std::atomic<std::uint64_t> kept_small;  ///< bytes of free small blocks whose pages are still there
    /// First free block of each class: its page number, and a count that tells it from an earlier stay at that place.
    std::array<std::atomic<std::uint64_t>, kNumClasses> free_blocks;
  };
  static constexpr std::uint64_t kLargeSpace = kSpace / 2;
  /// At the start of a free small block.
  struct FreeBlock {
    std::atomic<std::uint64_t> next_page;
    std::atomic<std::uint64_t> kept;  ///< what it adds to kept_small
  };
  static constexpr std::uint64_t kMaxKeptSmall = std::uint64_t{64} << 20;
  static constexpr std::uint64_t kMaxKept = std::uint64_t{256} << 20;
  static constexpr int kPageBits = 31;  ///< of a page number below kLargeSpace

  Header& header() const noexcept {
    return *reinterpret_cast<Header*>(base_);
  }
  FreeBlock& free_block(std::uint64_t page) const noexcept {
    return *reinterpret_cast<FreeBlock*>(base_ + page * kPage);
  }
  static std::size_t class_of(std::uint64_t pages) noexcept;
  static std::uint64_t class_pages(std::size_t index) noexcept;
  void map();
  std::uint64_t take_small(std::size_t index);
  std::uint64_t take_large(std::uint64_t size);
  void give_large(std::uint64_t offset, std::uint64_t size);
  void punch(std::uint64_t offset, std::uint64_t size) const;

  Descriptor file_;
  bool driver_;
  char* base_ = nullptr;
  std::mutex mutex_;
  std::multimap<std::uint64_t, std::uint64_t> kept_;  ///< sizes and offsets of large ranges whose pages are still there
  std::uint64_t kept_bytes_ = 0;
  FreeRanges free_large_;
};

}  // namespace mobula
