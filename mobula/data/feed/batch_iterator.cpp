#include "mobula/data/feed/batch_iterator.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "mobula/base/error.hpp"
#include "mobula/data/engine/rebatcher.hpp"
#include "mobula/data/feed/channel.hpp"

namespace mobula::data {
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
