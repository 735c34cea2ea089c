#include "mobula/data/operators/accumulators.hpp"

#include <arrow/array.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/array/concatenate.h>
#include <arrow/array/util.h>
#include <arrow/compute/api_vector.h>
#include <arrow/compute/cast.h>
#include <arrow/datum.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <cmath>
#include <string>
#include <unordered_set>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/row_keys.hpp"

namespace mobula::data {
namespace {

/// count: values that aren't null.
class Count : public Accumulator {
 public:
  void add(const arrow::Array& column, const std::vector<std::int64_t>& groups, std::size_t num_groups) override {
    counts_.resize(num_groups);
    for (std::size_t row = 0; row < groups.size(); ++row) {
      if (groups[row] >= 0 && column.IsValid(static_cast<std::int64_t>(row)))
        ++counts_[static_cast<std::size_t>(groups[row])];
    }
  }
  std::shared_ptr<arrow::Array> finish() override {
    arrow::Int64Builder builder;
    check(builder.AppendValues(counts_), "groupby");
    return take(builder.Finish(), "groupby");
  }

 private:
  std::vector<std::int64_t> counts_;
};

/// sum of integers: exact, or an error.
class IntegerSum : public Accumulator {
 public:
  explicit IntegerSum(std::string name) : name_(std::move(name)) {}
  void add(const arrow::Array& column, const std::vector<std::int64_t>& groups, std::size_t num_groups) override {
    sums_.resize(num_groups);
    seen_.resize(num_groups);
    const auto cast = take(arrow::compute::Cast(column, arrow::int64()), name_);
    const auto& values = static_cast<const arrow::Int64Array&>(*cast);
    for (std::size_t row = 0; row < groups.size(); ++row) {
      const auto at = static_cast<std::int64_t>(row);
      if (groups[row] < 0 || values.IsNull(at)) continue;
      const auto group = static_cast<std::size_t>(groups[row]);
      seen_[group] = true;
      if (__builtin_add_overflow(sums_[group], values.Value(at), &sums_[group])) {
        throw Error(ErrorCode::invalid_argument, fmt::format("groupby: the sum of '{}' does not fit 64 bits", name_),
                    "cast the column to float64 first");
      }
    }
  }
  std::shared_ptr<arrow::Array> finish() override {
    arrow::Int64Builder builder;
    for (std::size_t i = 0; i < sums_.size(); ++i)
      check(seen_[i] ? builder.Append(sums_[i]) : builder.AppendNull(), name_);
    return take(builder.Finish(), name_);
  }

 private:
  std::string name_;
  std::vector<std::int64_t> sums_;
  std::vector<bool> seen_;
};

/// sum, mean, stddev (of a sample) of real numbers, by Welford's algorithm.
class Moments : public Accumulator {
 public:
  Moments(std::string function, std::string name) : function_(std::move(function)), name_(std::move(name)) {}
  void add(const arrow::Array& column, const std::vector<std::int64_t>& groups, std::size_t num_groups) override {
    states_.resize(num_groups);
    const auto cast =
        take(arrow::compute::Cast(column, arrow::float64(), arrow::compute::CastOptions::Unsafe()), name_);
    const auto& values = static_cast<const arrow::DoubleArray&>(*cast);
    for (std::size_t row = 0; row < groups.size(); ++row) {
      const auto at = static_cast<std::int64_t>(row);
      if (groups[row] < 0 || values.IsNull(at)) continue;
      State& state = states_[static_cast<std::size_t>(groups[row])];
      const double value = values.Value(at);
      ++state.count;
      state.sum += value;
      const double delta = value - state.mean;
      state.mean += delta / static_cast<double>(state.count);
      state.squares += delta * (value - state.mean);
    }
  }
  std::shared_ptr<arrow::Array> finish() override {
    arrow::DoubleBuilder builder;
    for (const State& state : states_) {
      const bool defined = state.count > (function_ == "stddev" ? 1 : 0);
      const double value = function_ == "sum"    ? state.sum
                           : function_ == "mean" ? state.sum / static_cast<double>(state.count)
                                                 : std::sqrt(state.squares / static_cast<double>(state.count - 1));
      check(defined ? builder.Append(value) : builder.AppendNull(), name_);
    }
    return take(builder.Finish(), name_);
  }

 private:
  struct State {
    std::int64_t count = 0;
    double sum = 0;
    double mean = 0;
    double squares = 0;
  };
  std::string function_;
  std::string name_;
  std::vector<State> states_;
};

/// min, max, first of any type with an order: keeps a value's key and its row, one batch of winners at a time.
class Pick : public Accumulator {
 public:
  Pick(std::string function, std::string name) : function_(std::move(function)), name_(std::move(name)) {}
  void add(const arrow::Array& column, const std::vector<std::int64_t>& groups, std::size_t num_groups) override {
    keys_.resize(num_groups);
    const auto schema = arrow::schema({arrow::field(name_, column.type())});
    const auto shared = arrow::MakeArray(column.data());
    const auto batch = arrow::RecordBatch::Make(schema, column.length(), {shared});
    const RowKeys keys(*batch, {{0, false}}, "groupby");
    std::vector<std::int64_t> winners(num_groups, -1);
    for (std::size_t row = 0; row < groups.size(); ++row) {
      if (groups[row] < 0 || column.IsNull(static_cast<std::int64_t>(row))) continue;
      const auto group = static_cast<std::size_t>(groups[row]);
      const std::string_view key = keys[row];
      const bool better = keys_[group].empty() || (function_ == "min" && key < keys_[group]) ||
                          (function_ == "max" && key > keys_[group]);
      if (!better) continue;
      extra_bytes_ += static_cast<std::int64_t>(key.size()) - static_cast<std::int64_t>(keys_[group].size());
      keys_[group].assign(key);
      winners[group] = static_cast<std::int64_t>(row);
    }
    // The winners so far and the batch's new ones become one column again.
    arrow::Int64Builder indices;
    const std::int64_t old_size = values_ == nullptr ? 0 : values_->length();
    for (std::size_t group = 0; group < num_groups; ++group) {
      const bool kept = winners[group] < 0;
      const bool none = kept && static_cast<std::int64_t>(group) >= old_size;
      check(none ? indices.AppendNull()
                 : indices.Append(kept ? static_cast<std::int64_t>(group) : old_size + winners[group]),
            name_);
    }
    const auto pool = values_ == nullptr ? shared : take(arrow::Concatenate({values_, shared}), name_);
    values_ = take(arrow::compute::Take(*pool, *take(indices.Finish(), name_)), name_);
  }
  std::shared_ptr<arrow::Array> finish() override { return values_; }
  std::int64_t extra_bytes() const override { return extra_bytes_; }

 private:
  std::string function_;
  std::string name_;
  std::vector<std::string> keys_;
  std::shared_ptr<arrow::Array> values_;
  std::int64_t extra_bytes_ = 0;
};

/// count_distinct: values that aren't null and differ.
class CountDistinct : public Accumulator {
 public:
  explicit CountDistinct(std::string name) : name_(std::move(name)) {}
  void add(const arrow::Array& column, const std::vector<std::int64_t>& groups, std::size_t num_groups) override {
    sets_.resize(num_groups);
    const auto batch = arrow::RecordBatch::Make(arrow::schema({arrow::field(name_, column.type())}), column.length(),
                                                {arrow::MakeArray(column.data())});
    const RowKeys keys(*batch, {{0, false}}, "groupby");
    for (std::size_t row = 0; row < groups.size(); ++row) {
      if (groups[row] < 0 || column.IsNull(static_cast<std::int64_t>(row))) continue;
      if (sets_[static_cast<std::size_t>(groups[row])].emplace(keys[row]).second)
        extra_bytes_ += 64 + static_cast<std::int64_t>(keys[row].size());
    }
  }
  std::shared_ptr<arrow::Array> finish() override {
    arrow::Int64Builder builder;
    for (const auto& set : sets_) check(builder.Append(static_cast<std::int64_t>(set.size())), name_);
    return take(builder.Finish(), name_);
  }
  std::int64_t extra_bytes() const override { return extra_bytes_; }

 private:
  std::string name_;
  std::vector<std::unordered_set<std::string>> sets_;
  std::int64_t extra_bytes_ = 0;
};

const std::vector<std::string> kFunctions = {"sum", "mean", "min", "max", "count", "count_distinct", "stddev", "first"};

}  // namespace

std::unique_ptr<Accumulator> make_accumulator(const Aggregate& aggregate, const arrow::DataType& type) {
  const std::string& function = aggregate.function;
  if (function == "count") return std::make_unique<Count>();
  if (function == "count_distinct") return std::make_unique<CountDistinct>(aggregate.column);
  if (function == "min" || function == "max" || function == "first")
    return std::make_unique<Pick>(function, aggregate.column);
  if (function == "sum" || function == "mean" || function == "stddev") {
    if (!arrow::is_numeric(type.id()) && type.id() != arrow::Type::BOOL) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("groupby: {} of column '{}', which is {}", function, aggregate.column, type.ToString()));
    }
    if (function == "sum" && !arrow::is_floating(type.id())) return std::make_unique<IntegerSum>(aggregate.column);
    return std::make_unique<Moments>(function, aggregate.column);
  }
  throw_invalid(fmt::format("groupby: unknown aggregate '{}'", function), suggest(function, kFunctions));
}

}  // namespace mobula::data
