// Encoders: what turns values into numbers.
#include <arrow/array.h>
#include <arrow/array/array_nested.h>
#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/preprocess/columns.hpp"
#include "mobula/data/preprocess/preprocessor.hpp"

namespace mobula::data {
namespace {

/// Sorts whole numbers by value and texts by bytes, whole numbers first.
struct ByValue {
  bool operator()(const std::string& a, const std::string& b) const {
    std::int64_t x = 0;
    std::int64_t y = 0;
    const bool a_number = parse(a, x);
    const bool b_number = parse(b, y);
    if (a_number && b_number && x != y) return x < y;
    if (a_number != b_number) return a_number;
    return a < b;
  }
  static bool parse(const std::string& text, std::int64_t& number) {
    const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
    return result.ec == std::errc() && result.ptr == text.data() + text.size();
  }
};

using Categories = std::vector<std::string>;

/// Returns where a value stands among sorted ones; -1: nowhere.
std::int64_t position_of(const Categories& categories, const std::string& value) {
  const auto found = std::lower_bound(categories.begin(), categories.end(), value, ByValue());
  return found == categories.end() || *found != value ? -1 : found - categories.begin();
}

/// Calls `use(row, values of the row)` for a column of lists of texts or whole numbers.
template <class Use>
void for_each_list(const RecordBatchPointer& batch, const std::string& column, Use use) {
  const auto values = batch->GetColumnByName(column);
  if (values == nullptr || values->type_id() != arrow::Type::LIST) {
    throw_invalid(fmt::format("multi_hot_encoder: column '{}' is {}, not lists", column,
                              values == nullptr ? "missing" : values->type()->ToString()));
  }
  const auto& lists = static_cast<const arrow::ListArray&>(*values);
  const auto schema = arrow::schema({arrow::field(column, lists.values()->type())});
  const auto items = texts_of(arrow::RecordBatch::Make(schema, lists.values()->length(), {lists.values()}), column);
  for (std::int64_t row = 0; row < lists.length(); ++row) {
    std::vector<std::string> found;
    for (std::int64_t i = lists.value_offset(row);
         lists.IsValid(row) && i < lists.value_offset(row) + lists.value_length(row); ++i) {
      if (items->IsValid(i)) found.emplace_back(items->GetView(i));
    }
    use(row, found);
  }
}

/// Ordinal, one-hot and multi-hot encoders: what each column can be, sorted.
class Encoder : public Preprocessor {
 public:
  Encoder(std::string kind, std::vector<std::string> columns, Unknown unknown, std::vector<Categories> categories)
      : kind_(std::move(kind)), columns_(std::move(columns)), unknown_(unknown), categories_(std::move(categories)) {
    if (!categories_.empty() && categories_.size() != columns_.size())
      throw Error(ErrorCode::corrupt, fmt::format("{}: categories of another number of columns", kind_));
  }
  void fit(const Dataset& dataset, const RunOptions& options) override {
    std::vector<std::set<std::string, ByValue>> found(columns_.size());
    dataset.for_each(
        [&](const RecordBatchPointer& batch) {
          for (std::size_t i = 0; i < columns_.size(); ++i) {
            if (kind_ == "multi_hot_encoder") {
              for_each_list(batch, columns_[i], [&](std::int64_t, const std::vector<std::string>& values) {
                found[i].insert(values.begin(), values.end());
              });
              continue;
            }
            const auto values = texts_of(batch, columns_[i]);
            for (std::int64_t row = 0; row < values->length(); ++row) {
              if (values->IsValid(row)) found[i].emplace(values->GetView(row));
            }
          }
          return true;
        },
        options);
    categories_.clear();
    for (const auto& values : found) categories_.emplace_back(values.begin(), values.end());
  }
  using Preprocessor::transform;
  RecordBatchPointer transform(const RecordBatchPointer& batch) const override {
    if (categories_.size() != columns_.size()) throw_not_fitted(kind_);
    RecordBatchPointer changed = batch;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      changed = kind_ == "ordinal_encoder"   ? ordinal(changed, i)
                : kind_ == "one_hot_encoder" ? one_hot(changed, i)
                                             : multi_hot(changed, i);
    }
    return changed;
  }
  Json to_json() const override {
    return {{"kind", kind_},
            {"columns", columns_},
            {"unknown", unknown_ == Unknown::error ? "error" : "ignore"},
            {"categories", categories_}};
  }

 private:
  /// Returns the position of a row's value; -1 for an unknown one that is ignored.
  std::int64_t find(std::size_t column, const std::string& value) const {
    const std::int64_t position = position_of(categories_[column], value);
    if (position < 0 && unknown_ == Unknown::error) {
      throw_invalid(
          fmt::format("{}: column '{}' holds '{}', which was not there when it learnt", kind_, columns_[column], value),
          "make it with Unknown::ignore, or fit it on all values");
    }
    return position;
  }
  RecordBatchPointer ordinal(const RecordBatchPointer& batch, std::size_t i) const {
    const auto values = texts_of(batch, columns_[i]);
    std::vector<std::optional<std::int64_t>> out(static_cast<std::size_t>(values->length()));
    for (std::int64_t row = 0; row < values->length(); ++row) {
      if (values->IsValid(row)) out[static_cast<std::size_t>(row)] = find(i, std::string(values->GetView(row)));
    }
    return with_column(batch, columns_[i], integers_to_array(out));
  }
  RecordBatchPointer one_hot(const RecordBatchPointer& batch, std::size_t i) const {
    const auto values = texts_of(batch, columns_[i]);
    std::vector<std::vector<std::uint8_t>> columns(
        categories_[i].size(), std::vector<std::uint8_t>(static_cast<std::size_t>(values->length())));
    for (std::int64_t row = 0; row < values->length(); ++row) {
      if (values->IsNull(row)) continue;
      const std::int64_t position = find(i, std::string(values->GetView(row)));
      if (position >= 0) columns[static_cast<std::size_t>(position)][static_cast<std::size_t>(row)] = 1;
    }
    RecordBatchPointer changed = without_column(batch, columns_[i]);
    for (std::size_t category = 0; category < columns.size(); ++category) {
      arrow::UInt8Builder builder;
      check(builder.AppendValues(columns[category]), kind_);
      changed = with_column(changed, fmt::format("{}_{}", columns_[i], categories_[i][category]),
                            take(builder.Finish(), kind_));
    }
    return changed;
  }
  RecordBatchPointer multi_hot(const RecordBatchPointer& batch, std::size_t i) const {
    const std::size_t width = categories_[i].size();
    std::vector<double> vectors(static_cast<std::size_t>(batch->num_rows()) * width);
    for_each_list(batch, columns_[i], [&](std::int64_t row, const std::vector<std::string>& values) {
      for (const std::string& value : values) {
        const std::int64_t position = find(i, value);
        if (position >= 0) vectors[static_cast<std::size_t>(row) * width + static_cast<std::size_t>(position)] = 1;
      }
    });
    return with_column(batch, columns_[i], vectors_of(std::move(vectors), static_cast<std::int64_t>(width)));
  }

  std::string kind_;
  std::vector<std::string> columns_;
  Unknown unknown_;
  std::vector<Categories> categories_;
};

class Concatenator : public Preprocessor {
 public:
  Concatenator(std::vector<std::string> columns, std::string output, bool keep)
      : columns_(std::move(columns)), output_(std::move(output)), keep_(keep) {}
  void fit(const Dataset&, const RunOptions&) override {}
  using Preprocessor::transform;
  RecordBatchPointer transform(const RecordBatchPointer& batch) const override {
    /// One part of the vector: a column's numbers, `width` a row.
    struct Part {
      std::shared_ptr<arrow::DoubleArray> values;
      std::int64_t width;
      std::int64_t begin;
    };
    std::vector<Part> parts;
    std::int64_t width = 0;
    for (const std::string& column : columns_) {
      const auto values = batch->GetColumnByName(column);
      const bool vectors = values != nullptr && values->type_id() == arrow::Type::FIXED_SIZE_LIST;
      Part part{nullptr, 1, 0};
      if (vectors) {
        const auto& lists = static_cast<const arrow::FixedSizeListArray&>(*values);
        part.width = lists.list_type()->list_size();
        part.begin = lists.value_offset(0);
        const auto schema = arrow::schema({arrow::field(column, lists.values()->type())});
        part.values = numbers_of(arrow::RecordBatch::Make(schema, lists.values()->length(), {lists.values()}), column);
      } else {
        part.values = numbers_of(batch, column);
      }
      if (part.values->null_count() > 0 || (values != nullptr && values->null_count() > 0))
        throw_invalid(fmt::format("concatenator: a null in column '{}'", column), "impute nulls first");
      width += part.width;
      parts.push_back(std::move(part));
    }
    std::vector<double> vectors;
    vectors.reserve(static_cast<std::size_t>(batch->num_rows() * width));
    for (std::int64_t row = 0; row < batch->num_rows(); ++row) {
      for (const Part& part : parts) {
        const double* begin = part.values->raw_values() + part.begin + row * part.width;
        vectors.insert(vectors.end(), begin, begin + part.width);
      }
    }
    RecordBatchPointer changed = batch;
    if (!keep_) {
      for (const std::string& column : columns_) changed = without_column(changed, column);
    }
    return with_column(changed, output_, vectors_of(std::move(vectors), width));
  }
  Json to_json() const override {
    return {{"kind", "concatenator"}, {"columns", columns_}, {"output", output_}, {"keep", keep_}};
  }

 private:
  std::vector<std::string> columns_;
  std::string output_;
  bool keep_;
};

}  // namespace

void LabelEncoder::fit(const Dataset& dataset, const RunOptions& options) {
  Encoder encoder("ordinal_encoder", {column_}, Unknown::error, {});
  encoder.fit(dataset, options);
  labels_ = encoder.to_json().at("categories").at(0).get<std::vector<std::string>>();
}

RecordBatchPointer LabelEncoder::transform(const RecordBatchPointer& batch) const {
  if (labels_.empty()) throw_not_fitted("label_encoder");
  return Encoder("ordinal_encoder", {column_}, Unknown::error, {labels_}).transform(batch);
}

RecordBatchPointer LabelEncoder::inverse_transform(const RecordBatchPointer& batch) const {
  const auto numbers = numbers_of(batch, column_);
  arrow::StringBuilder builder;
  for (std::int64_t row = 0; row < numbers->length(); ++row) {
    if (numbers->IsNull(row)) {
      check(builder.AppendNull(), "label_encoder");
      continue;
    }
    const double number = numbers->Value(row);
    if (!(number >= 0) || number >= static_cast<double>(labels_.size()))
      throw_invalid(fmt::format("label_encoder: {} is no label's number; there are {} labels", number, labels_.size()));
    check(builder.Append(labels_[static_cast<std::size_t>(number)]), "label_encoder");
  }
  return with_column(batch, column_, take(builder.Finish(), "label_encoder"));
}

Json LabelEncoder::to_json() const {
  return {{"kind", "label_encoder"}, {"column", column_}, {"labels", labels_}};
}

PreprocessorPointer ordinal_encoder(std::vector<std::string> columns, Unknown unknown) {
  return std::make_shared<Encoder>("ordinal_encoder", std::move(columns), unknown, std::vector<Categories>());
}
PreprocessorPointer one_hot_encoder(std::vector<std::string> columns, Unknown unknown) {
  return std::make_shared<Encoder>("one_hot_encoder", std::move(columns), unknown, std::vector<Categories>());
}
PreprocessorPointer multi_hot_encoder(std::vector<std::string> columns, Unknown unknown) {
  return std::make_shared<Encoder>("multi_hot_encoder", std::move(columns), unknown, std::vector<Categories>());
}
PreprocessorPointer concatenator(std::vector<std::string> columns, std::string output, bool keep) {
  if (columns.empty()) throw_invalid("concatenator: no columns");
  return std::make_shared<Concatenator>(std::move(columns), std::move(output), keep);
}

PreprocessorPointer read_encoder(const Json& json) {
  return std::make_shared<Encoder>(json.at("kind").get<std::string>(),
                                   json.at("columns").get<std::vector<std::string>>(),
                                   json.at("unknown") == "ignore" ? Unknown::ignore : Unknown::error,
                                   json.at("categories").get<std::vector<Categories>>());
}
PreprocessorPointer read_label_encoder(const Json& json) {
  auto encoder = std::make_shared<LabelEncoder>(json.at("column").get<std::string>());
  encoder->labels_ = json.at("labels").get<std::vector<std::string>>();
  return encoder;
}
PreprocessorPointer read_concatenator(const Json& json) {
  return concatenator(json.at("columns").get<std::vector<std::string>>(), json.at("output").get<std::string>(),
                      json.at("keep").get<bool>());
}

}  // namespace mobula::data
