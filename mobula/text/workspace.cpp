#include "mobula/text/workspace.hpp"

#include <bit>

namespace mobula::text {
namespace {

// The numbers of the threads that encode. The lowest free one is given out, so that a thread that comes after another finds
// that one's workspace, still warm.
std::atomic<std::uint64_t> numbers_in_use{0};

class ThreadNumber {
 public:
  ThreadNumber() {
    std::uint64_t used = numbers_in_use.load();
    do value_ = static_cast<std::size_t>(std::countr_one(used));
    while (value_ < 64 && !numbers_in_use.compare_exchange_weak(used, used | std::uint64_t{1} << value_));
  }
  ThreadNumber(const ThreadNumber&) = delete;
  ThreadNumber& operator=(const ThreadNumber&) = delete;
  ~ThreadNumber() {
    if (value_ < 64) numbers_in_use.fetch_and(~(std::uint64_t{1} << value_));
  }
  std::size_t value() const { return value_; }

 private:
  std::size_t value_ = 0;
};

std::size_t thread_number() {
  thread_local const ThreadNumber number;
  return number.value();
}

}  // namespace

WorkspacePool::~WorkspacePool() {
  for (Slot& slot : slots_) delete slot.space.load();
}

std::unique_ptr<Workspace> WorkspacePool::take() {
  Workspace* space = slots_[thread_number() % kNumKept].space.exchange(nullptr);
  return space != nullptr ? std::unique_ptr<Workspace>(space) : std::make_unique<Workspace>();
}

void WorkspacePool::give(std::unique_ptr<Workspace> space) {
  constexpr std::size_t kMostBytes = std::size_t{1}
                                     << 22;  // what one huge text needed must not stay in memory for ever
  if (space->pieces.memory() > kMostBytes) space->pieces = PieceList();
  Workspace* expected = nullptr;
  if (slots_[thread_number() % kNumKept].space.compare_exchange_strong(expected, space.get())) space.release();
}

}  // namespace mobula::text
