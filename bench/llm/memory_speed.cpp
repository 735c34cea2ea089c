#include "memory_speed.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <thread>
#include <vector>

namespace mobula::bench {
namespace {

constexpr std::size_t kBytes = std::size_t{1} << 29;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kLine = 64;

typedef std::uint64_t Line __attribute__((vector_size(64)));

// kBytes of memory that is there, in huge pages or ordinary ones.
class Block {
 public:
  explicit Block(bool huge) {
    address_ = ::mmap(nullptr, kBytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address_ == MAP_FAILED) throw std::bad_alloc();
    const auto at = reinterpret_cast<std::uintptr_t>(address_);
    begin_ = reinterpret_cast<std::byte*>((at + kHugePage - 1) / kHugePage * kHugePage);
    (void)::madvise(begin_, kBytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    std::memset(begin_, 1, kBytes);
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() { ::munmap(address_, kBytes + kHugePage); }
  const std::byte* begin() const { return begin_; }

 private:
  void* address_;
  std::byte* begin_;
};

template <int kStreams>
std::uint64_t add_up(const std::byte* begin, std::size_t size, std::size_t ahead) {
  Line sums[kStreams] = {};
  const std::size_t stream = size / kStreams / kLine * kLine;
  for (std::size_t at = 0; at < stream; at += kLine) {
    for (int s = 0; s < kStreams; ++s) {
      const std::byte* from = begin + static_cast<std::size_t>(s) * stream + at;
      if (ahead != 0) __builtin_prefetch(from + ahead, 0, 2);
      Line line;
      std::memcpy(&line, from, sizeof line);
      sums[s] += line;
    }
  }
  for (int s = 1; s < kStreams; ++s) sums[0] += sums[s];
  std::uint64_t total = 0;
  for (int lane = 0; lane < 8; ++lane) total += sums[0][lane];
  return total;
}

template <int kStreams>
double gb_per_s(const Block& block, std::size_t ahead) {
  double best = 0;
  std::atomic<std::uint64_t> total{0};
  for (int round = 0; round < 5; ++round) {
    const std::size_t num_threads = std::max(1U, std::thread::hardware_concurrency()), part = kBytes / num_threads;
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < num_threads; ++i) {
      threads.emplace_back([&, i] { total += add_up<kStreams>(block.begin() + i * part, part, ahead); });
    }
    for (std::thread& thread : threads) thread.join();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, static_cast<double>(kBytes) / seconds / 1e9);
  }
  return best;
}

}  // namespace

void measure_memory_speed(const MemorySpeedSink& sink) {
  for (const bool huge : {false, true}) {
    const Block block(huge);
    const std::string pages = huge ? "huge" : "ordinary";
    sink(pages, "one stream", gb_per_s<1>(block, 0));
    for (const std::size_t ahead : {1024, 4096}) {
      sink(pages, fmt::format("one stream, fetched {} ahead", ahead), gb_per_s<1>(block, ahead));
    }
    sink(pages, "4 streams", gb_per_s<4>(block, 0));
    sink(pages, "4 streams, fetched 1024 ahead", gb_per_s<4>(block, 1024));
  }
}

}  // namespace mobula::bench
