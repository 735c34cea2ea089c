/// Stretches of a source's rows, opened one after the other. Internal to this layer.
#pragma once

#include <cstdint>
#include <memory>

#include "mobula/data/plan/plan.hpp"

namespace mobula::data {

/// The rows of a run of which one range is read at a time: found by their numbers, or as they come. Not thread-safe; what
/// range() gives may be read by another thread until the next call.
class RowRanges {
 public:
  RowRanges();
  RowRanges(const RowRanges&) = delete;
  RowRanges& operator=(const RowRanges&) = delete;
  ~RowRanges();

  /// Opens a source whose rows are found by number; false where they can't be.
  bool open_by_number(const OpenSource& open);
  /// Opens a source whose rows come one after the other.
  void open_in_order(const OpenSource& open);
  /// Returns how many rows there are, -1 where only reading tells.
  std::int64_t num_rows() const;
  /// Tells whether there is a row of this number; none before it is read any more where rows come in order.
  bool has_row(std::int64_t row);
  /// Returns rows [begin, end), those that there are; where rows come in order, behind those that were read before.
  std::unique_ptr<Source> range(std::int64_t begin, std::int64_t end);

 private:
  struct Numbered;
  struct Ordered;
  class NumberedRange;
  class OrderedRange;

  std::shared_ptr<Numbered> numbered_;
  std::shared_ptr<Ordered> ordered_;
};

}  // namespace mobula::data
