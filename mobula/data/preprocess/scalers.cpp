// Scalers, the normalizer, the imputer, bins: what turns numbers into numbers.
#include <arrow/array.h>
#include <arrow/array/builder_binary.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/preprocess/columns.hpp"
#include "mobula/data/preprocess/preprocessor.hpp"

namespace mobula::data {
namespace {

/// Count, mean, sum of squared distances from it (Chan et al., 1979), and range of a column's numbers.
struct Moments {
  double count = 0;
  double mean = 0;
  double squares = 0;
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();

  void add(double value) {
    if (std::isnan(value)) return;
    ++count;
    const double distance = value - mean;
    mean += distance / count;
    squares += distance * (value - mean);
    min = std::min(min, value);
    max = std::max(max, value);
  }
};

std::vector<Moments> moments_of(const Dataset& dataset, const std::vector<std::string>& columns,
                                const RunOptions& options) {
  std::vector<Moments> moments(columns.size());
  dataset.for_each(
      [&](const RecordBatchPointer& batch) {
        for (std::size_t i = 0; i < columns.size(); ++i) {
          const auto values = numbers_of(batch, columns[i]);
          for (std::int64_t row = 0; row < values->length(); ++row) {
            if (values->IsValid(row)) moments[i].add(values->Value(row));
          }
        }
        return true;
      },
      options);
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (moments[i].count == 0)
      throw_invalid(fmt::format("preprocess: column '{}' holds no numbers to learn from", columns[i]));
  }
  return moments;
}

/// Changes each number of some columns by a function of column and value.
template <class Change>
RecordBatchPointer change_numbers(const RecordBatchPointer& batch, const std::vector<std::string>& columns,
                                  Change change) {
  RecordBatchPointer changed = batch;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const auto values = numbers_of(batch, columns[i]);
    std::vector<std::optional<double>> out(static_cast<std::size_t>(values->length()));
    for (std::int64_t row = 0; row < values->length(); ++row) {
      if (values->IsValid(row)) out[static_cast<std::size_t>(row)] = change(i, values->Value(row));
    }
    changed = with_column(changed, columns[i], numbers_to_array(out));
  }
  return changed;
}

/// All scalers are (x - center) / scale + shift.
class Scaler : public Preprocessor {
 public:
  Scaler(std::string kind, std::vector<std::string> columns, double low, double high)
      : kind_(std::move(kind)), columns_(std::move(columns)), low_(low), high_(high) {}
  explicit Scaler(const Json& json)
      : kind_(json.at("kind").get<std::string>()),
        columns_(json.at("columns").get<std::vector<std::string>>()),
        low_(json.at("low").get<double>()),
        high_(json.at("high").get<double>()),
        centers_(json.at("centers").get<std::vector<double>>()),
        scales_(json.at("scales").get<std::vector<double>>()) {
    if (centers_.size() != scales_.size() || (!centers_.empty() && centers_.size() != columns_.size()))
      throw Error(ErrorCode::corrupt, fmt::format("{}: figures of another number of columns", kind_));
  }

  void fit(const Dataset& dataset, const RunOptions& options) override {
    centers_.clear();
    scales_.clear();
    if (kind_ == "robust_scaler") {
      for (const std::string& column : columns_) {
        const auto quartiles = quantiles_of(dataset, column, {0.25, 0.5, 0.75}, options);
        add(quartiles[1], quartiles[2] - quartiles[0]);
      }
      return;
    }
    for (const Moments& moments : moments_of(dataset, columns_, options)) {
      if (kind_ == "standard_scaler") {
        add(moments.mean, std::sqrt(moments.squares / moments.count));
      } else if (kind_ == "min_max_scaler") {
        add(moments.min, (moments.max - moments.min) / (high_ - low_));
      } else {
        add(0, std::max(std::abs(moments.min), std::abs(moments.max)));
      }
    }
  }
  using Preprocessor::transform;
  RecordBatchPointer transform(const RecordBatchPointer& batch) const override {
    if (centers_.size() != columns_.size()) throw_not_fitted(kind_);
    const double shift = kind_ == "min_max_scaler" ? low_ : 0;
    return change_numbers(batch, columns_,
                          [&](std::size_t i, double value) { return (value - centers_[i]) / scales_[i] + shift; });
  }
  Json to_json() const override {
    return {{"kind", kind_}, {"columns", columns_}, {"low", low_},
            {"high", high_}, {"centers", centers_}, {"scales", scales_}};
  }

 private:
  void add(double center, double scale) {
    centers_.push_back(center);
    scales_.push_back(scale > 0 ? scale : 1);
  }

  std::string kind_;
  std::vector<std::string> columns_;
  double low_;
  double high_;
  std::vector<double> centers_;
  std::vector<double> scales_;
};

class Normalizer : public Preprocessor {
 public:
  Normalizer(std::vector<std::string> columns, std::string norm)
      : columns_(std::move(columns)), norm_(std::move(norm)) {
    if (norm_ != "l1" && norm_ != "l2" && norm_ != "max")
      throw_invalid(fmt::format("normalizer: unknown norm '{}'", norm_), suggest(norm_, {"l1", "l2", "max"}));
  }
  void fit(const Dataset&, const RunOptions&) override {}
  using Preprocessor::transform;
  RecordBatchPointer transform(const RecordBatchPointer& batch) const override {
    std::vector<double> norms(static_cast<std::size_t>(batch->num_rows()));
    for (const std::string& column : columns_) {
      const auto values = numbers_of(batch, column);
      for (std::size_t row = 0; row < norms.size(); ++row) {
        const auto at = static_cast<std::int64_t>(row);
        if (values->IsNull(at))
          throw_invalid(fmt::format("normalizer: a null in column '{}'", column), "impute nulls first");
        const double size = std::abs(values->Value(at));
        norms[row] = norm_ == "l1"   ? norms[row] + size
                     : norm_ == "l2" ? norms[row] + size * size
                                     : std::max(norms[row], size);
      }
    }
    RecordBatchPointer changed = batch;
    for (const std::string& column : columns_) {
      const auto values = numbers_of(batch, column);
      std::vector<std::optional<double>> out(norms.size());
      for (std::size_t row = 0; row < norms.size(); ++row) {
        const double norm = norm_ == "l2" ? std::sqrt(norms[row]) : norms[row];
        out[row] = values->Value(static_cast<std::int64_t>(row)) / (norm > 0 ? norm : 1);
      }
      changed = with_column(changed, column, numbers_to_array(out));
    }
    return changed;
  }
  Json to_json() const override { return {{"kind", "normalizer"}, {"columns", columns_}, {"norm", norm_}}; }

 private:
  std::vector<std::string> columns_;
  std::string norm_;
};

class Imputer : public Preprocessor {
 public:
  Imputer(std::vector<std::string> columns, ImputerOptions options, std::vector<Json> values)
      : columns_(std::move(columns)), options_(std::move(options)), values_(std::move(values)) {
    const std::vector<std::string> known = {"mean", "median", "most_frequent", "constant"};
    if (std::find(known.begin(), known.end(), options_.strategy) == known.end())
      throw_invalid(fmt::format("imputer: unknown strategy '{}'", options_.strategy),
                    suggest(options_.strategy, known));
    if (options_.strategy == "constant" && !options_.constant.is_number() && !options_.constant.is_string())
      throw_invalid("imputer: the constant must be a number or a text");
    if (!values_.empty() && values_.size() != columns_.size())
      throw Error(ErrorCode::corrupt, "imputer: values of another number of columns");
  }
  void fit(const Dataset& dataset, const RunOptions& options) override {
    values_.clear();
    if (options_.strategy == "constant") {
      values_.assign(columns_.size(), options_.constant);
    } else if (options_.strategy == "mean") {
      for (const Moments& moments : moments_of(dataset, columns_, options)) values_.emplace_back(moments.mean);
    } else {
      for (const std::string& column : columns_)
        values_.push_back(options_.strategy == "median" ? Json(quantiles_of(dataset, column, {0.5}, options).front())
                                                        : most_frequent(dataset, column, options));
    }
  }
  using Preprocessor::transform;
  RecordBatchPointer transform(const RecordBatchPointer& batch) const override {
    if (values_.size() != columns_.size()) throw_not_fitted("imputer");
    RecordBatchPointer changed = batch;
    for (std::size_t i = 0; i < columns_.size(); ++i)
      changed =
          with_column(changed, columns_[i], values_[i].is_string() ? fill_texts(batch, i) : fill_numbers(batch, i));
    return changed;
  }
  Json to_json() const override {
    return {{"kind", "imputer"},
            {"columns", columns_},
            {"strategy", options_.strategy},
            {"constant", options_.constant},
            {"values", values_}};
  }

 private:
  static Json most_frequent(const Dataset& dataset, const std::string& column, const RunOptions& options) {
    const auto schema = dataset.schema(options);
    const int position = schema->GetFieldIndex(column);
    const bool text = position >= 0 && schema->field(position)->type()->id() == arrow::Type::STRING;
    const std::string known = text ? fmt::format("`{}` is not null", column)
                                   : fmt::format("`{0}` is not null and not is_nan(cast(`{0}`, 'float64'))", column);
    const auto best = dataset.select({column})
                          .filter(known)
                          .groupby({column}, {{"count", column, "times of value"}})
                          .sort({{"times of value", true}, {column, false}})
                          .limit(1)
                          .collect(options);
    if (best.empty()) throw_invalid(fmt::format("imputer: column '{}' holds nothing to learn from", column));
    if (text) return std::string(texts_of(best.front(), column)->GetView(0));
    return numbers_of(best.front(), column)->Value(0);
  }
  std::shared_ptr<arrow::Array> fill_texts(const RecordBatchPointer& batch, std::size_t i) const {
    const auto values = texts_of(batch, columns_[i]);
    const std::string value = values_[i].get<std::string>();
    arrow::StringBuilder builder;
    for (std::int64_t row = 0; row < values->length(); ++row)
      check(values->IsNull(row) ? builder.Append(value) : builder.Append(values->GetView(row)), "imputer");
    return take(builder.Finish(), "imputer");
  }
  std::shared_ptr<arrow::Array> fill_numbers(const RecordBatchPointer& batch, std::size_t i) const {
    const auto values = numbers_of(batch, columns_[i]);
    std::vector<std::optional<double>> out(static_cast<std::size_t>(values->length()));
    for (std::int64_t row = 0; row < values->length(); ++row) {
      const bool missing = values->IsNull(row) || std::isnan(values->Value(row));
      out[static_cast<std::size_t>(row)] = missing ? values_[i].get<double>() : values->Value(row);
    }
    return numbers_to_array(out);
  }

  std::vector<std::string> columns_;
  ImputerOptions options_;
  std::vector<Json> values_;
};

class Binner : public Preprocessor {
 public:
  Binner(std::vector<std::string> columns, BinOptions options, std::vector<std::vector<double>> edges)
      : columns_(std::move(columns)), options_(std::move(options)), edges_(std::move(edges)) {
    if (options_.num_bins < 2)
      throw_invalid(fmt::format("binner: {} bins; two at least are expected", options_.num_bins));
    if (options_.strategy != "uniform" && options_.strategy != "quantile")
      throw_invalid(fmt::format("binner: unknown strategy '{}'", options_.strategy),
                    suggest(options_.strategy, {"uniform", "quantile"}));
    if (!edges_.empty() && edges_.size() != columns_.size())
      throw Error(ErrorCode::corrupt, "binner: edges of another number of columns");
  }
  void fit(const Dataset& dataset, const RunOptions& options) override {
    edges_.clear();
    const auto bins = static_cast<std::size_t>(options_.num_bins);
    if (options_.strategy == "quantile") {
      std::vector<double> quantiles(bins + 1);
      for (std::size_t i = 0; i <= bins; ++i) quantiles[i] = static_cast<double>(i) / static_cast<double>(bins);
      for (const std::string& column : columns_) {
        auto edges = quantiles_of(dataset, column, quantiles, options);
        edges.erase(std::unique(edges.begin(), edges.end()), edges.end());  // bins that no row falls into
        edges_.push_back(std::move(edges));
      }
      return;
    }
    for (const Moments& moments : moments_of(dataset, columns_, options)) {
      std::vector<double> edges(bins + 1);
      for (std::size_t i = 0; i <= bins; ++i)
        edges[i] = moments.min + (moments.max - moments.min) * static_cast<double>(i) / static_cast<double>(bins);
      edges_.push_back(std::move(edges));
    }
  }
  using Preprocessor::transform;
  RecordBatchPointer transform(const RecordBatchPointer& batch) const override {
    if (edges_.size() != columns_.size()) throw_not_fitted("binner");
    RecordBatchPointer changed = batch;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const auto values = numbers_of(batch, columns_[i]);
      const auto& edges = edges_[i];
      std::vector<std::optional<std::int64_t>> out(static_cast<std::size_t>(values->length()));
      for (std::int64_t row = 0; row < values->length(); ++row) {
        if (values->IsNull(row) || std::isnan(values->Value(row))) continue;
        const auto above = std::upper_bound(edges.begin(), edges.end(), values->Value(row)) - edges.begin();
        const auto last = std::max<std::int64_t>(static_cast<std::int64_t>(edges.size()) - 2, 0);
        out[static_cast<std::size_t>(row)] = std::clamp<std::int64_t>(above - 1, 0, last);
      }
      changed = with_column(changed, columns_[i], integers_to_array(out));
    }
    return changed;
  }
  Json to_json() const override {
    return {{"kind", "binner"},
            {"columns", columns_},
            {"num_bins", options_.num_bins},
            {"strategy", options_.strategy},
            {"edges", edges_}};
  }

 private:
  std::vector<std::string> columns_;
  BinOptions options_;
  std::vector<std::vector<double>> edges_;
};

}  // namespace

PreprocessorPointer standard_scaler(std::vector<std::string> columns) {
  return std::make_shared<Scaler>("standard_scaler", std::move(columns), 0, 1);
}
PreprocessorPointer min_max_scaler(std::vector<std::string> columns, double low, double high) {
  if (!(low < high)) throw_invalid(fmt::format("min_max_scaler: a range from {} to {}", low, high));
  return std::make_shared<Scaler>("min_max_scaler", std::move(columns), low, high);
}
PreprocessorPointer max_abs_scaler(std::vector<std::string> columns) {
  return std::make_shared<Scaler>("max_abs_scaler", std::move(columns), 0, 1);
}
PreprocessorPointer robust_scaler(std::vector<std::string> columns) {
  return std::make_shared<Scaler>("robust_scaler", std::move(columns), 0, 1);
}
PreprocessorPointer normalizer(std::vector<std::string> columns, std::string norm) {
  return std::make_shared<Normalizer>(std::move(columns), std::move(norm));
}
PreprocessorPointer imputer(std::vector<std::string> columns, ImputerOptions options) {
  return std::make_shared<Imputer>(std::move(columns), std::move(options), std::vector<Json>());
}
PreprocessorPointer binner(std::vector<std::string> columns, BinOptions options) {
  return std::make_shared<Binner>(std::move(columns), std::move(options), std::vector<std::vector<double>>());
}

PreprocessorPointer read_scaler(const Json& json) {
  return std::make_shared<Scaler>(json);
}
PreprocessorPointer read_normalizer(const Json& json) {
  return normalizer(json.at("columns").get<std::vector<std::string>>(), json.at("norm").get<std::string>());
}
PreprocessorPointer read_imputer(const Json& json) {
  return std::make_shared<Imputer>(json.at("columns").get<std::vector<std::string>>(),
                                   ImputerOptions{json.at("strategy").get<std::string>(), json.at("constant")},
                                   json.at("values").get<std::vector<Json>>());
}
PreprocessorPointer read_binner(const Json& json) {
  return std::make_shared<Binner>(
      json.at("columns").get<std::vector<std::string>>(),
      BinOptions{json.at("num_bins").get<std::int64_t>(), json.at("strategy").get<std::string>()},
      json.at("edges").get<std::vector<std::vector<double>>>());
}

}  // namespace mobula::data
