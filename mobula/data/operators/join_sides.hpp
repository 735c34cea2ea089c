/// The two sides of a hash join. Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/type_fwd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "mobula/data/blocks/row_keys.hpp"

namespace mobula::data {

enum class JoinKind { inner, left, semi, anti };

/// What comes out of a join of columns, and where it comes from.
struct JoinLayout {
  JoinKind kind = JoinKind::inner;
  std::vector<KeyColumn> left_keys;
  std::vector<KeyColumn> right_keys;
  std::vector<int> kept;  ///< of the right side's columns: all but the keys
  std::shared_ptr<arrow::Schema> schema;

  /// Throws Error(invalid_argument) for keys of different types, and columns of both sides with one name.
  JoinLayout(JoinKind kind, const std::vector<std::string>& on, const arrow::Schema& left, const arrow::Schema& right);
};

/// Rows of the right side in memory, found by key. Rows with a null in their key match nothing. Immutable.
class JoinTable {
 public:
  JoinTable(std::shared_ptr<arrow::RecordBatch> rows, const std::vector<KeyColumn>& keys);

  /// Joins rows of the left side; they keep their order. `matched`, where it is not null, holds a truth a row of `left`:
  /// rows that match are noted there, and those of left and anti joins that don't are left to finish_unmatched().
  std::shared_ptr<arrow::RecordBatch> probe(const std::shared_ptr<arrow::RecordBatch>& left, const JoinLayout& layout,
                                            std::vector<char>* matched = nullptr) const;

 private:
  std::shared_ptr<arrow::RecordBatch> rows_;
  std::unordered_multimap<std::string, std::int64_t> index_;
};

/// Returns what a left, semi or anti join gives for rows of which it is known whether they match anything.
std::shared_ptr<arrow::RecordBatch> finish_unmatched(const std::shared_ptr<arrow::RecordBatch>& left,
                                                     const JoinLayout& layout, const std::vector<char>& matched);

}  // namespace mobula::data
