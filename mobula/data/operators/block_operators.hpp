/// Operators that look at one block at a time, so that any number of them is fused into one pass.
/// Internal to this layer: names Arrow's types.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mobula/data/dataset.hpp"
#include "mobula/data/engine/bad_rows.hpp"
#include "mobula/data/engine/executor.hpp"
#include "mobula/data/operators/decode_image.hpp"

namespace mobula::data {

/// Keeps the rows for which the expression is true; null is not. Rows on which it fails go to `bad_rows`.
std::unique_ptr<BlockOperator> filter_operator(const std::string& predicate, std::shared_ptr<BadRows> bad_rows);
/// Sets columns to expressions of the columns that go in, all at once; new names come last, in order. Rows on which one fails
/// go to `bad_rows`.
std::unique_ptr<BlockOperator> with_operator(std::vector<std::pair<std::string, std::string>> columns,
                                             std::shared_ptr<BadRows> bad_rows);
/// Keeps these columns, in this order.
std::unique_ptr<BlockOperator> select_operator(std::vector<std::string> columns);
/// Leaves these columns out.
std::unique_ptr<BlockOperator> drop_operator(std::vector<std::string> columns);
/// Gives columns other names: (old, new).
std::unique_ptr<BlockOperator> rename_operator(std::vector<std::pair<std::string, std::string>> names);

/// Decodes a column of image files into pixels of one size. Rows whose file can't be decoded go to `bad_rows`.
std::unique_ptr<BlockOperator> decode_image_operator(const DecodeImageOptions& options,
                                                     std::shared_ptr<BadRows> bad_rows);

/// Changes a batch of any number of rows into another.
using BatchFunction = std::function<std::shared_ptr<arrow::RecordBatch>(const std::shared_ptr<arrow::RecordBatch>&)>;

/// Calls a function for each block. `make` is called once for each thread that needs one at the same time, at most
/// `max_instances` times (0: no limit), so that a function may hold state such as a model. `schema` is what comes out;
/// null: a call with no rows tells. Bad rows that come back with a batch (with_bad_rows()) go to `bad_rows`.
std::unique_ptr<BlockOperator> map_batches_operator(std::string name, std::function<BatchFunction()> make,
                                                    int max_instances, std::shared_ptr<arrow::Schema> schema,
                                                    std::shared_ptr<BadRows> bad_rows);

/// Calls a function for each block, and gives it the way to say that it failed on a row: the run ends with an error that
/// names the row, or the row goes to `bad_rows`.
std::unique_ptr<BlockOperator> map_rows_operator(MapOptions options, RowsFunction function,
                                                 std::shared_ptr<BadRows> bad_rows);

}  // namespace mobula::data
