/// Types and values of JSON objects as columns. Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/type_fwd.h>
#include <simdjson.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace arrow {
class RecordBatchBuilder;
}

namespace mobula::data {

/// The narrowest type that holds the values seen: bool, int64, uint64, float64, string, list of, struct of.
class JsonTypeGuess {
 public:
  /// Looks at one value. Throws RowError (row 0) where it can't share a column with those before, naming `path`.
  void see(simdjson::dom::element value, const std::string& path);
  /// Returns the type; string where only nulls were seen.
  std::shared_ptr<arrow::DataType> type() const;
  /// Returns the fields of objects, in the order in which they were met.
  const std::vector<std::pair<std::string, JsonTypeGuess>>& fields() const { return fields_; }

 private:
  enum class Kind { null, boolean, int64, uint64, float64, string, list, object };
  void widen(Kind kind, const std::string& path);
  static const char* name(Kind kind);

  Kind kind_ = Kind::null;
  bool negative_ = false;
  std::unique_ptr<JsonTypeGuess> item_;
  std::vector<std::pair<std::string, JsonTypeGuess>> fields_;
};

/// Builds columns out of objects.
class JsonColumns {
 public:
  /// `ignore_unknown`: passes over keys that are no columns instead of refusing them.
  JsonColumns(std::shared_ptr<arrow::Schema> schema, bool ignore_unknown);
  ~JsonColumns();

  /// Adds a row. Throws RowError (row 0) where a value isn't of its column's type; the object is then of no use.
  void append(simdjson::dom::object row);
  /// Returns the rows added and starts again.
  std::shared_ptr<arrow::RecordBatch> finish();

 private:
  std::shared_ptr<arrow::Schema> schema_;
  bool ignore_unknown_;
  std::unique_ptr<arrow::RecordBatchBuilder> builder_;
  std::int64_t num_rows_ = 0;
};

}  // namespace mobula::data
