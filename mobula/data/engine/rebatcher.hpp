/// Batches of one size out of batches of any. Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/record_batch.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "mobula/data/dataset.hpp"
#include "mobula/data/engine/spill.hpp"

namespace mobula::data {

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

}  // namespace mobula::data
