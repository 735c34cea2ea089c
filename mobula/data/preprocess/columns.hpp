/// Columns as plain numbers and texts, for preprocessors. Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/type_fwd.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/data/dataset.hpp"

namespace mobula::data {

/// Returns a column of numbers (or bool) as float64. Throws Error(invalid_argument) naming the column.
std::shared_ptr<arrow::DoubleArray> numbers_of(const RecordBatchPointer& batch, const std::string& column);
/// Returns a column of texts or whole numbers (or bool) as texts. Throws Error(invalid_argument) naming the column.
std::shared_ptr<arrow::StringArray> texts_of(const RecordBatchPointer& batch, const std::string& column);
/// Returns the batch with a column set: in its place, or behind the others.
RecordBatchPointer with_column(const RecordBatchPointer& batch, const std::string& name,
                               std::shared_ptr<arrow::Array> values);
/// Returns the batch without a column.
RecordBatchPointer without_column(const RecordBatchPointer& batch, const std::string& name);
/// Makes a column of vectors of `length`, row after row in `values`.
std::shared_ptr<arrow::Array> vectors_of(std::vector<double> values, std::int64_t length);
/// Makes a column of numbers.
std::shared_ptr<arrow::Array> numbers_to_array(const std::vector<std::optional<double>>& values);
std::shared_ptr<arrow::Array> integers_to_array(const std::vector<std::optional<std::int64_t>>& values);

/// Returns the value at each quantile (0 .. 1) of a column's numbers, between two by straight line; the column is sorted, on
/// disk where it must be. Throws Error(invalid_argument) where it holds none.
std::vector<double> quantiles_of(const Dataset& dataset, const std::string& column,
                                 const std::vector<double>& quantiles, const RunOptions& options);

/// Throws Error(invalid_argument) for a preprocessor that was not fitted.
[[noreturn]] void throw_not_fitted(const std::string& kind);

// What Preprocessor::from_json() makes of each kind.
std::shared_ptr<class Preprocessor> read_scaler(const Json& json);
std::shared_ptr<class Preprocessor> read_normalizer(const Json& json);
std::shared_ptr<class Preprocessor> read_imputer(const Json& json);
std::shared_ptr<class Preprocessor> read_binner(const Json& json);
std::shared_ptr<class Preprocessor> read_encoder(const Json& json);
std::shared_ptr<class Preprocessor> read_label_encoder(const Json& json);
std::shared_ptr<class Preprocessor> read_vectorizer(const Json& json);
std::shared_ptr<class Preprocessor> read_concatenator(const Json& json);
std::shared_ptr<class Preprocessor> read_tokenizer(const Json& json);
std::shared_ptr<class Preprocessor> read_chat(const Json& json);
std::shared_ptr<class Preprocessor> read_image(const Json& json);
std::shared_ptr<class Preprocessor> read_function(const Json& json);

}  // namespace mobula::data
