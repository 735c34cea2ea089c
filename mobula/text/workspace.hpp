/// What encoding works in, kept from text to text.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "mobula/text/pieces.hpp"
#include "mobula/text/word_cache.hpp"

namespace mobula::text {

/// How far apart must lie what different threads write: processors fetch lines of 64 bytes in pairs.
inline constexpr std::size_t kApart = 128;

/// One thread's words and pieces. Not thread-safe.
struct alignas(kApart) Workspace {
  WordCache words;
  PieceList pieces;
};

/// Lends workspaces to threads; at most kNumKept are kept.
class WorkspacePool {
 public:
  WorkspacePool() = default;
  WorkspacePool(const WorkspacePool&) = delete;
  WorkspacePool& operator=(const WorkspacePool&) = delete;
  ~WorkspacePool();

  /// A borrowed workspace, given back at the end.
  class Loan {
   public:
    explicit Loan(WorkspacePool& pool) : pool_(pool), space_(pool.take()) {}
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    ~Loan() { pool_.give(std::move(space_)); }
    Workspace& operator*() { return *space_; }
    Workspace* operator->() { return space_.get(); }

   private:
    WorkspacePool& pool_;
    std::unique_ptr<Workspace> space_;
  };

 private:
  static constexpr std::size_t kNumKept = 16;
  struct alignas(kApart) Slot {  // threads take and give all the time
    std::atomic<Workspace*> space{nullptr};
  };

  std::unique_ptr<Workspace> take();
  void give(std::unique_ptr<Workspace> space);

  std::array<Slot, kNumKept> slots_{};
};

}  // namespace mobula::text
