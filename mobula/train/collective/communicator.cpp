#include "mobula/train/collective/communicator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "mobula/base/error.hpp"
#include "mobula/base/size.hpp"
#include "mobula/train/collective/sum.hpp"

namespace mobula::train {
namespace {

constexpr std::size_t kPage = 4096;
/// What a rank puts up for the others in one round of an operation.
constexpr std::size_t kStageBytes = std::size_t{256} << 10;

std::size_t round_up(std::size_t bytes) {
  return (bytes + kPage - 1) / kPage * kPage;
}

std::size_t counters_bytes(int size) {
  return round_up(static_cast<std::size_t>(size) * sizeof(SharedCounter));
}

}  // namespace

std::size_t Communicator::reserved_bytes(int size) {
  return counters_bytes(size) + 2 * static_cast<std::size_t>(size) * kStageBytes;
}

Communicator::Communicator(std::span<std::byte> shared, int rank, int size)
    : shared_(shared), rank_(rank), size_(size), used_(reserved_bytes(size)) {
  if (shared.size() < used_) {
    throw Error(ErrorCode::resource, fmt::format("{} ranks share {}, their collectives need {}", size,
                                                 format_size(shared.size()), format_size(used_)));
  }
  arrivals_ = reinterpret_cast<SharedCounter*>(shared.data());
}

std::span<std::byte> Communicator::stage(int rank) const {
  const auto index =
      static_cast<std::size_t>(parity_) * static_cast<std::size_t>(size_) + static_cast<std::size_t>(rank);
  return shared_.subspan(counters_bytes(size_) + index * kStageBytes, kStageBytes);
}

void Communicator::barrier() {
  if (size_ == 1) return;
  ++round_;
  arrivals_[rank_].raise(round_);
  for (int rank = 0; rank < size_; ++rank) arrivals_[rank].wait_for(round_);
}

// Operations alternate between two stages. Whoever writes a stage again has passed the barrier of the operation between,
// which every rank enters only after it has read this stage: one barrier an operation is enough.

std::span<const double> Communicator::all_gather(std::span<const double> values) {
  if (values.size() > kMaxGather) throw_internal("all_gather of too many values");
  gathered_.resize(values.size() * static_cast<std::size_t>(size_));
  std::memcpy(stage(rank_).data(), values.data(), values.size_bytes());
  barrier();
  for (int rank = 0; rank < size_; ++rank) {
    std::memcpy(gathered_.data() + static_cast<std::size_t>(rank) * values.size(), stage(rank).data(),
                values.size_bytes());
  }
  next_stage();
  return gathered_;
}

void Communicator::all_reduce_sum(std::span<double> values) {
  if (size_ == 1) return;
  for (std::size_t begin = 0; begin < values.size(); begin += kMaxGather) {
    const auto part = values.subspan(begin, std::min(kMaxGather, values.size() - begin));
    const auto all = all_gather(part);
    for (std::size_t i = 0; i < part.size(); ++i) {
      double sum = all[i];
      for (std::size_t rank = 1; rank < static_cast<std::size_t>(size_); ++rank) sum += all[rank * part.size() + i];
      part[i] = sum;
    }
  }
}

void Communicator::all_reduce_sum(std::span<float> values) {
  if (size_ == 1) return;
  constexpr std::size_t kStageFloats = kStageBytes / sizeof(float);
  const auto ranks = static_cast<std::size_t>(size_);
  for (std::size_t begin = 0; begin < values.size(); begin += kStageFloats) {
    const auto part = values.subspan(begin, std::min(kStageFloats, values.size() - begin));
    std::memcpy(stage(rank_).data(), part.data(), part.size_bytes());
    barrier();
    // Each rank sums its share of the elements over all ranks, into the first rank's stage.
    std::vector<const float*> sources(ranks);
    const std::size_t share = (part.size() + ranks - 1) / ranks;
    const std::size_t first = std::min(part.size(), share * static_cast<std::size_t>(rank_));
    const std::size_t last = std::min(part.size(), first + share);
    for (int rank = 0; rank < size_; ++rank) {
      sources[static_cast<std::size_t>(rank)] = reinterpret_cast<const float*>(stage(rank).data()) + first;
    }
    sum_in_order(reinterpret_cast<float*>(stage(0).data()) + first, sources, last - first);
    barrier();
    std::memcpy(part.data(), stage(0).data(), part.size_bytes());
    next_stage();
  }
}

void Communicator::broadcast(std::span<std::byte> bytes, int root) {
  if (size_ == 1) return;
  for (std::size_t begin = 0; begin < bytes.size(); begin += kStageBytes) {
    const auto part = bytes.subspan(begin, std::min(kStageBytes, bytes.size() - begin));
    if (rank_ == root) std::memcpy(stage(root).data(), part.data(), part.size());
    barrier();
    if (rank_ != root) std::memcpy(part.data(), stage(root).data(), part.size());
    next_stage();
  }
}

std::span<std::byte> Communicator::allocate(std::size_t bytes) {
  const std::size_t size = round_up(bytes);
  if (size < bytes || size > shared_.size() - used_) {
    throw Error(ErrorCode::resource,
                fmt::format("the ranks' shared memory of {} is used up: {} more were asked for",
                            format_size(shared_.size()), format_size(bytes)),
                "use a smaller model or fewer workers on this machine");
  }
  const auto block = shared_.subspan(used_, bytes);
  used_ += size;
  return block;
}

}  // namespace mobula::train
