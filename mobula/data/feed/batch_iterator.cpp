#include "mobula/data/feed/batch_iterator.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/data/engine/spill.hpp"
#include "mobula/data/feed/channel.hpp"

namespace mobula::data {
namespace {

/// Cuts and joins batches to one size.
class Rebatcher {
 public:
  explicit Rebatcher(std::int64_t size) : size_(size) {}

  /// Calls `use` with each batch that has become whole; false where it wants no more.
  template <class Use>
  bool add(const RecordBatchPointer& batch, Use use) {
    if (size_ == 0) return use(batch);
    std::int64_t begin = 0;
    while (begin < batch->num_rows()) {
      const std::int64_t taken = std::min(size_ - held_rows_, batch->num_rows() - begin);
      held_.push_back(batch->Slice(begin, taken));
      held_rows_ += taken;
      begin += taken;
      if (held_rows_ == size_ && !use(rest())) return false;
    }
    return true;
  }
  bool empty() const { return held_.empty(); }
  RecordBatchPointer rest() {
    auto batch = combine_batches(held_, held_.front()->schema());
    held_.clear();
    held_rows_ = 0;
    return batch;
  }

 private:
  std::int64_t size_;
  std::vector<RecordBatchPointer> held_;
  std::int64_t held_rows_ = 0;
};

}  // namespace

struct BatchIterator::State {
  State(const Dataset& dataset, const IterOptions& options)
      : channel(static_cast<std::size_t>(std::max(1, options.prefetch))),
        thread([this, dataset, options] { run(dataset, options); }) {}
  ~State() {
    channel.close();
    thread.join();
  }
  void run(const Dataset& dataset, const IterOptions& options) {
    try {
      Rebatcher rebatcher(options.batch_size);
      const auto push = [this](RecordBatchPointer batch) { return channel.push(std::move(batch)); };
      dataset.for_each([&](const RecordBatchPointer& batch) { return rebatcher.add(batch, push); }, options.run);
      if (!rebatcher.empty() && !options.drop_last) push(rebatcher.rest());
      channel.finish();
    } catch (...) {
      channel.finish(std::current_exception());
    }
  }

  Channel<RecordBatchPointer> channel;
  std::thread thread;
};

BatchIterator::BatchIterator(const Dataset& dataset, IterOptions options) {
  if (options.batch_size < 0) throw_invalid(fmt::format("iter_batches: a batch of {} rows", options.batch_size));
  state_ = std::make_unique<State>(dataset, options);
}
BatchIterator::BatchIterator(BatchIterator&&) noexcept = default;
BatchIterator& BatchIterator::operator=(BatchIterator&&) noexcept = default;
BatchIterator::~BatchIterator() = default;

RecordBatchPointer BatchIterator::next() {
  return state_->channel.pop().value_or(nullptr);
}

}  // namespace mobula::data
