/// Batches as arguments and results of tasks and actors.
#pragma once

#include "mobula/core/codec.hpp"
#include "mobula/data/dataset.hpp"

namespace mobula::data {

/// A batch that tasks and actors take and give: threads share it, other processes get it as an Arrow IPC stream, whose
/// columns they see where they lie in shared memory. Nothing can change them: get() and arguments copy as little as view().
struct BatchValue {
  RecordBatchPointer batch;
};

}  // namespace mobula::data

template <>
struct mobula::Codec<mobula::data::BatchValue> {
  static constexpr bool kBorrows = true;
  static void encode(WireWriter& out, const data::BatchValue& value);
  static data::BatchValue decode(WireReader& in);
};
