/// The threads of a decoder: loops of some microseconds each, a hundred of them a token.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace mobula::nn {

/// Runs one loop after the other on the calling thread and its workers. Between loops a worker looks for the next one for
/// some microseconds and then sleeps, so that beside other work it leaves its processor to that. A worker that comes late
/// holds nobody up: the others do its share. Used by one thread at a time.
class ThreadTeam {
 public:
  /// Starts `num_threads` - 1 workers. Throws std::system_error where the system refuses.
  explicit ThreadTeam(int num_threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int num_threads() const noexcept { return static_cast<int>(shares_.size()); }

  /// Calls work(begin, end) for pieces of [0, count), `piece` numbers each (the last one may have fewer), on any thread, each
  /// piece once; returns when all are done. Neighbouring pieces go to one thread, in their order, as long as none is idle.
  /// `work` must not throw, and what it computes must not depend on who does it.
  template <class Work>
  void run(std::int64_t count, std::int64_t piece, const Work& work) {
    if (count <= piece || num_threads() == 1) {
      if (count > 0) work(std::int64_t{0}, count);
      return;
    }
    const auto call = [](const void* what, std::int64_t begin, std::int64_t end) {
      (*static_cast<const Work*>(what))(begin, end);
    };
    share_out({&work, call, count, piece});
  }

 private:
  struct Loop {
    const void* work = nullptr;
    void (*call)(const void* work, std::int64_t begin, std::int64_t end) = nullptr;
    std::int64_t count = 0, piece = 1;
  };
  // Pieces that nobody has begun: the first one in the upper half, the one behind the last in the lower. On a cache line of its
  // own. Its owner takes the first, the others the last.
  struct alignas(64) Share {
    std::atomic<std::uint64_t> pieces{0};
  };

  void share_out(const Loop& loop);
  void take_part(std::size_t self);
  void work_until_stopped(std::size_t self);
  void stop();

  std::vector<Share> shares_;
  Loop loop_;  // read by who holds one of its pieces, written when all are done
  alignas(64) std::atomic<std::uint32_t> num_loops_{0};  // changes when there is work, or none any more
  std::atomic<bool> stopped_{false};
  alignas(64) std::atomic<std::uint32_t> num_left_{0};  // pieces that aren't done
  std::vector<std::thread> workers_;
};

}  // namespace mobula::nn
