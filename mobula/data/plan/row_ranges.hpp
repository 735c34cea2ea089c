/// Stretches of a source's rows, opened one after the other. Internal to this layer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mobula/data/plan/plan.hpp"

namespace mobula::data {

/// Pieces of a source that lie one behind the other.
struct PieceRun {
  std::vector<PiecePlace> places;
  std::int64_t first_row = 0;  ///< number of the first one's first row
};

/// Returns rows [begin, end) of a source, which lie in these pieces. The source outlives it by itself.
std::unique_ptr<Source> rows_of_pieces(std::shared_ptr<Source> source, PieceRun pieces, std::int64_t begin,
                                       std::int64_t end);

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
  /// Returns the pieces that rows [begin, end) lie in, where they are found by number.
  PieceRun pieces(std::int64_t begin, std::int64_t end) const;
  /// Returns the source whose rows are found by number.
  Source& source() const;
  /// Returns rows [begin, end), those that there are; where rows come in order, behind those that were read before.
  std::unique_ptr<Source> range(std::int64_t begin, std::int64_t end);

 private:
  struct Numbered;
  struct Ordered;
  class OrderedRange;

  std::shared_ptr<Numbered> numbered_;
  std::shared_ptr<Ordered> ordered_;
};

}  // namespace mobula::data
