/// Rows on disk, in files by their keys' hash. Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/type_fwd.h>

#include <memory>
#include <string>
#include <vector>

#include "mobula/data/blocks/row_keys.hpp"
#include "mobula/data/engine/spill.hpp"

namespace mobula::data {

inline constexpr std::size_t kNumKeyPartitions = 32;

/// Rows of one key are in one file, in the order in which they came. Not thread-safe.
class KeyPartitions {
 public:
  KeyPartitions(std::shared_ptr<SpillSpace> space, std::shared_ptr<arrow::Schema> schema, std::vector<KeyColumn> keys);

  void append(const std::shared_ptr<arrow::RecordBatch>& batch);
  /// Ends writing and hands the files over, kNumKeyPartitions of them.
  std::vector<std::shared_ptr<SpillFile>> finish();

 private:
  std::shared_ptr<SpillSpace> space_;
  std::vector<KeyColumn> keys_;
  std::vector<std::shared_ptr<SpillFile>> files_;
};

}  // namespace mobula::data
