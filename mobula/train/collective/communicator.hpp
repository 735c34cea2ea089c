/// Collectives among the processes of a gang, through the block of memory they share.
///
///     Communicator ranks(member.shared(), member.rank(), member.size());
///     ranks.all_reduce_sum(values);                   // bit-identical on every rank, in every run
///
/// All ranks call the same operations in the same order. Nothing here has a deadline: when a rank dies, the gang's driver
/// ends the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "mobula/train/collective/shared_counter.hpp"

namespace mobula::train {

/// One rank's end. Not thread-safe: one thread of each rank calls it.
class Communicator {
 public:
  /// Returns the bytes that `size` ranks need for the collectives themselves; what allocate() gives out comes on top.
  static std::size_t reserved_bytes(int size);

  /// `shared` is the gang's zeroed block. Throws Error(resource) where it is smaller than reserved_bytes(size).
  Communicator(std::span<std::byte> shared, int rank, int size);

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }

  /// Waits for all ranks.
  void barrier();
  /// Replaces `values` by their sum over ranks, added in rank order. Every rank passes the same number of values.
  void all_reduce_sum(std::span<float> values);
  void all_reduce_sum(std::span<double> values);
  /// Returns the ranks' values, rank 0's first; every rank passes the same number (at most kMaxGather).
  std::span<const double> all_gather(std::span<const double> values);
  static constexpr std::size_t kMaxGather = 512;
  /// Replaces `bytes` by rank `root`'s.
  void broadcast(std::span<std::byte> bytes, int root);

  /// Gives out zeroed memory that all ranks see, aligned to pages: the n-th call returns the same bytes on every rank.
  /// Throws Error(resource) when the gang's block is used up.
  std::span<std::byte> allocate(std::size_t bytes);
  template <class T>
  std::span<T> allocate(std::size_t count) {
    return {reinterpret_cast<T*>(allocate(count * sizeof(T)).data()), count};
  }

 private:
  std::span<std::byte> stage(int rank) const;
  void next_stage() noexcept { parity_ ^= 1u; }

  std::span<std::byte> shared_;
  int rank_;
  int size_;
  SharedCounter* arrivals_;  ///< one a rank
  std::uint32_t round_ = 0;  ///< barriers passed
  unsigned parity_ = 0;      ///< which of the two stages the next operation writes
  std::size_t used_ = 0;
  std::vector<double> gathered_;
};

}  // namespace mobula::train
