#include "mobula/nn/decoder/thread_team.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mobula::nn {
namespace {

// Longer than what one thread does alone between two loops of a token, and than waking a thread takes.
constexpr std::chrono::microseconds kSpin{30};

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Looks for a while whether `ready` becomes true; returns whether it did.
template <class Ready>
bool spin_until(const Ready& ready) {
  constexpr int kLooksPerTime = 32;
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kLooksPerTime; ++i, relax()) {
      if (ready()) return true;
    }
  } while (std::chrono::steady_clock::now() < end);
  return ready();
}

constexpr std::uint64_t pieces_between(std::uint32_t first, std::uint32_t last) {
  return std::uint64_t{first} << 32 | last;
}

// Takes a piece out of a share. Returns its number, or -1 where none is left.
std::int64_t take(std::atomic<std::uint64_t>& pieces, bool first) {
  std::uint64_t seen = pieces.load(std::memory_order_relaxed);
  for (;;) {
    const auto begin = static_cast<std::uint32_t>(seen >> 32), end = static_cast<std::uint32_t>(seen);
    if (begin == end) return -1;
    const std::uint64_t rest = first ? pieces_between(begin + 1, end) : pieces_between(begin, end - 1);
    if (pieces.compare_exchange_weak(seen, rest, std::memory_order_acquire, std::memory_order_relaxed)) {
      return first ? begin : end - 1;
    }
  }
}

}  // namespace

ThreadTeam::ThreadTeam(int num_threads) : shares_(static_cast<std::size_t>(std::max(1, num_threads))) {
  try {
    for (std::size_t i = 1; i < shares_.size(); ++i) workers_.emplace_back([this, i] { work_until_stopped(i); });
  } catch (...) {
    stop();
    throw;
  }
}

ThreadTeam::~ThreadTeam() {
  stop();
}

void ThreadTeam::stop() {
  stopped_.store(true, std::memory_order_relaxed);
  num_loops_.fetch_add(1, std::memory_order_release);
  num_loops_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::share_out(const Loop& loop) {
  loop_ = loop;
  // A piece's number has 32 bits.
  loop_.piece = std::max(loop.piece, loop.count / (std::int64_t{1} << 31) + 1);
  const auto num_pieces = static_cast<std::uint64_t>((loop.count + loop_.piece - 1) / loop_.piece);
  num_left_.store(static_cast<std::uint32_t>(num_pieces), std::memory_order_relaxed);
  const std::uint64_t num_threads = shares_.size();
  for (std::uint64_t i = 0; i < num_threads; ++i) {
    const auto first = static_cast<std::uint32_t>(num_pieces * i / num_threads);
    const auto last = static_cast<std::uint32_t>(num_pieces * (i + 1) / num_threads);
    shares_[i].pieces.store(pieces_between(first, last), std::memory_order_release);
  }
  num_loops_.fetch_add(1, std::memory_order_release);
  num_loops_.notify_all();
  take_part(0);
  const auto is_done = [this] { return num_left_.load(std::memory_order_acquire) == 0; };
  if (spin_until(is_done)) return;
  while (const std::uint32_t left = num_left_.load(std::memory_order_acquire)) num_left_.wait(left);
}

void ThreadTeam::take_part(std::size_t self) {
  std::uint32_t num_done = 0;
  for (std::size_t i = 0; i < shares_.size(); ++i) {
    const std::size_t owner = (self + i) % shares_.size();
    for (std::int64_t piece = take(shares_[owner].pieces, i == 0); piece >= 0;
         piece = take(shares_[owner].pieces, i == 0)) {
      const std::int64_t begin = piece * loop_.piece;
      loop_.call(loop_.work, begin, std::min(begin + loop_.piece, loop_.count));
      ++num_done;
    }
  }
  if (num_done == 0) return;
  if (num_left_.fetch_sub(num_done, std::memory_order_acq_rel) == num_done) num_left_.notify_one();
}

void ThreadTeam::work_until_stopped(std::size_t self) {
  std::uint32_t seen = 0;
  for (;;) {
    const auto has_changed = [&] { return num_loops_.load(std::memory_order_acquire) != seen; };
    if (!spin_until(has_changed)) {
      while (!has_changed()) num_loops_.wait(seen);
    }
    seen = num_loops_.load(std::memory_order_acquire);
    if (stopped_.load(std::memory_order_relaxed)) return;
    take_part(self);
  }
}

}  // namespace mobula::nn
