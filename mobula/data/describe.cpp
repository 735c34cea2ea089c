#include "mobula/data/describe.hpp"

#include <arrow/array.h>
#include <arrow/array/builder_binary.h>
#include <arrow/array/concatenate.h>
#include <arrow/array/util.h>
#include <arrow/compute/api_aggregate.h>
#include <arrow/compute/cast.h>
#include <arrow/datum.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/type.h>
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <optional>

#include "mobula/base/error.hpp"
#include "mobula/base/size.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/type_names.hpp"
#include "mobula/data/row_error.hpp"
#include "mobula/data/sinks/format_writer.hpp"
#include "mobula/data/sinks/value_text.hpp"

namespace mobula::data {
namespace {

namespace cp = arrow::compute;

bool has_order(const arrow::DataType& type) {
  return arrow::is_primitive(type.id()) || arrow::is_base_binary_like(type.id()) || arrow::is_decimal(type.id());
}

/// Figures of one column so far.
struct ColumnFigures {
  std::int64_t nulls = 0;
  std::shared_ptr<arrow::Scalar> min;
  std::shared_ptr<arrow::Scalar> max;
  double sum = 0;
  std::int64_t num_summed = 0;

  void add(const std::shared_ptr<arrow::Array>& values) {
    nulls += values->null_count();
    if (values->length() == values->null_count() || !has_order(*values->type())) return;
    merge_min_max(values);
    if (!arrow::is_numeric(values->type_id()) && !arrow::is_decimal(values->type_id())) return;
    auto numbers = values;
    if (values->type_id() != arrow::Type::DOUBLE) {
      numbers = take(cp::Cast(*values, arrow::float64(), cp::CastOptions::Unsafe()), "mean");
    }
    sum += take(cp::Sum(numbers), "mean").scalar_as<arrow::DoubleScalar>().value;
    num_summed += values->length() - values->null_count();
  }
  void merge_min_max(const std::shared_ptr<arrow::Array>& values) {
    const auto both = take(cp::MinMax(values), "min and max");
    const auto& pair = both.scalar_as<arrow::StructScalar>();
    min = min == nullptr ? pair.value[0] : extreme(min, pair.value[0], 0);
    max = max == nullptr ? pair.value[1] : extreme(max, pair.value[1], 1);
  }
  static std::shared_ptr<arrow::Scalar> extreme(const std::shared_ptr<arrow::Scalar>& a,
                                                const std::shared_ptr<arrow::Scalar>& b, std::size_t which) {
    const auto one = take(arrow::MakeArrayFromScalar(*a, 1), "min and max");
    const auto other = take(arrow::MakeArrayFromScalar(*b, 1), "min and max");
    const auto both = take(arrow::Concatenate({one, other}), "min and max");
    return take(cp::MinMax(both), "min and max").scalar_as<arrow::StructScalar>().value[which];
  }
};

Json scalar_as_json(const std::shared_ptr<arrow::Scalar>& scalar) {
  if (scalar == nullptr || !scalar->is_valid) return nullptr;
  const auto array = take(arrow::MakeArrayFromScalar(*scalar, 1), "value");
  std::string text;
  if (arrow::is_binary_like(scalar->type->id()) && scalar->type->id() != arrow::Type::STRING) return scalar->ToString();
  make_value_text(*array, "value", {TextStyle::json, ',', true})->append(0, text);
  return parse_json(text, "value");
}

/// Returns the batch with columns of bytes as strings in base64, which JSON can hold.
RecordBatchPointer with_base64(const RecordBatchPointer& batch) {
  RecordBatchPointer result = batch;
  for (int i = 0; i < batch->num_columns(); ++i) {
    if (batch->column(i)->type_id() != arrow::Type::BINARY) continue;
    const auto& bytes = static_cast<const arrow::BinaryArray&>(*batch->column(i));
    arrow::StringBuilder texts;
    std::string text;
    for (std::int64_t row = 0; row < bytes.length(); ++row) {
      const std::string_view value = bytes.GetView(row);
      text.resize((value.size() + 2) / 3 * 4 + 1);
      text.resize(static_cast<std::size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                                           reinterpret_cast<const unsigned char*>(value.data()),
                                                           static_cast<int>(value.size()))));
      check(bytes.IsNull(row) ? texts.AppendNull() : texts.Append(text), "base64");
    }
    result =
        take(result->SetColumn(i, arrow::field(batch->column_name(i), arrow::utf8()), take(texts.Finish(), "base64")),
             "base64");
  }
  return result;
}

}  // namespace

std::vector<ColumnInfo> columns_of(const Dataset& dataset) {
  std::vector<ColumnInfo> columns;
  const auto schema = dataset.schema();
  for (const auto& field : schema->fields()) columns.push_back({field->name(), name_of_type(*field->type())});
  return columns;
}

std::vector<std::string> rows_as_json(const Dataset& dataset) {
  std::vector<std::string> rows;
  std::unique_ptr<Format> format;
  dataset.for_each([&](const RecordBatchPointer& batch) {
    WriteOptions options;
    options.nan_as_null = true;
    const auto printable = with_base64(batch);
    if (format == nullptr) format = make_jsonl_format(printable->schema(), options);
    const auto prepared = format->prepare({printable, nullptr});
    std::string_view text = prepared->text;
    while (!text.empty()) {
      const std::size_t end = text.find('\n');
      rows.emplace_back(text.substr(0, end));
      text.remove_prefix(end + 1);
    }
    return true;
  });
  return rows;
}

std::vector<std::vector<std::string>> rows_as_text(const Dataset& dataset) {
  std::vector<std::vector<std::string>> rows;
  dataset.for_each([&rows](const RecordBatchPointer& batch) {
    for (std::int64_t row = 0; row < batch->num_rows(); ++row) {
      std::vector<std::string> cells;
      for (const auto& column : batch->columns()) {
        if (column->IsNull(row)) {
          cells.emplace_back("null");
        } else if (column->type_id() == arrow::Type::STRING) {
          cells.emplace_back(static_cast<const arrow::StringArray&>(*column).GetView(row));
        } else if (column->type_id() == arrow::Type::BINARY) {
          cells.push_back(
              fmt::format("<{} bytes>", static_cast<const arrow::BinaryArray&>(*column).GetView(row).size()));
        } else {
          cells.push_back(take(column->GetScalar(row), "row")->ToString());
        }
      }
      rows.push_back(std::move(cells));
    }
    return true;
  });
  return rows;
}

Json column_statistics(const Dataset& dataset, const RunOptions& options) {
  const auto schema = dataset.schema(options);
  std::vector<ColumnFigures> figures(static_cast<std::size_t>(schema->num_fields()));
  const auto result = dataset.for_each(
      [&figures](const RecordBatchPointer& batch) {
        for (int i = 0; i < batch->num_columns(); ++i) figures[static_cast<std::size_t>(i)].add(batch->column(i));
        return true;
      },
      options);
  Json columns = Json::array();
  for (int i = 0; i < schema->num_fields(); ++i) {
    const ColumnFigures& column = figures[static_cast<std::size_t>(i)];
    const auto& type = *schema->field(i)->type();
    Json entry{{"name", schema->field(i)->name()}, {"type", name_of_type(type)}, {"nulls", column.nulls}};
    if (has_order(type)) {
      entry["min"] = scalar_as_json(column.min);
      entry["max"] = scalar_as_json(column.max);
    }
    if (column.num_summed > 0) entry["mean"] = column.sum / static_cast<double>(column.num_summed);
    columns.push_back(std::move(entry));
  }
  return {{"rows", result.rows}, {"columns", std::move(columns)}};
}

Json compare_datasets(const Dataset& a, const Dataset& b, const std::vector<std::string>& keys,
                      const RunOptions& options) {
  if (keys.empty()) throw_invalid("diff: no key columns", "name the columns that tell which row is which");
  const auto a_schema = a.schema(options);
  const auto b_schema = b.schema(options);
  Json added = Json::array();
  Json removed = Json::array();
  Json retyped = Json::array();
  std::vector<std::pair<std::string, std::string>> renamed;
  std::string same;
  std::vector<std::string> kept = keys;
  for (const auto& field : b_schema->fields()) {
    if (a_schema->GetFieldIndex(field->name()) < 0) added.push_back(field->name());
  }
  for (const auto& field : a_schema->fields()) {
    const std::string& name = field->name();
    if (std::find(keys.begin(), keys.end(), name) != keys.end()) continue;
    const int position = b_schema->GetFieldIndex(name);
    if (position < 0) {
      removed.push_back(name);
      continue;
    }
    if (!b_schema->field(position)->type()->Equals(*field->type())) {
      retyped.push_back(name);
      continue;
    }
    kept.push_back(name);
    renamed.emplace_back(name, "other " + name);
    // Two nulls are the same value; a null and a value are not.
    same += fmt::format("{}coalesce(`{}` == `other {}`, `{}` is null and `other {}` is null)",
                        same.empty() ? "" : " and ", name, name, name, name);
  }
  const auto own = a.select(kept);
  const auto other = renamed.empty() ? b.select(kept) : b.select(kept).rename(renamed);
  const auto both = own.join(other, keys);
  const std::int64_t num_both = both.count(options).rows;
  const std::int64_t num_same = same.empty() ? num_both : both.filter(same).count(options).rows;
  return {{"rows", {a.count(options).rows, b.count(options).rows}},
          {"added", b.select(keys).join(a.select(keys), keys, "anti").count(options).rows},
          {"removed", a.select(keys).join(b.select(keys), keys, "anti").count(options).rows},
          {"changed", num_both - num_same},
          {"same", num_same},
          {"columns", {{"added", std::move(added)}, {"removed", std::move(removed)}, {"retyped", std::move(retyped)}}}};
}

namespace {

/// Tells how far workers that make parts have come; empty for other stages.
std::string parts_of(const Json& stage) {
  if (!stage.contains("parts")) return {};
  const Json& parts = stage.at("parts");
  return fmt::format(" in {} workers, {} of {} parts", parts.at("workers").get<int>(),
                     parts.at("made").get<std::int64_t>() + parts.at("before").get<std::int64_t>(),
                     parts.at("of").get<std::int64_t>());
}

}  // namespace

std::string run_report(const Json& statistics) {
  std::string text;
  int number = 0;
  for (const Json& stage : statistics) {
    const double seconds = stage.at("seconds").get<double>();
    const double all = std::max(seconds * stage.at("threads").get<double>(), 1e-9);
    const auto share = [all](double part) { return std::min(part / all, 1.0) * 100; };
    text += fmt::format("stage {}: {} threads{}, {:.2f} s{}\n", ++number, stage.at("threads").get<int>(),
                        parts_of(stage), seconds, stage.at("done").get<bool>() ? "" : ", running");
    for (const Json& op : stage.at("operators")) {
      const double busy = op.at("busy_s").get<double>();
      text += fmt::format("  {:>14} rows {:>9} {:>9.2f} s {:>4.0f}%  {}\n", op.at("rows").get<std::int64_t>(),
                          format_size(static_cast<std::uint64_t>(op.at("bytes").get<std::int64_t>())), busy,
                          share(busy), op.at("name").get<std::string>());
    }
    for (const Json& blocked : stage.at("blocked")) {
      const double waited = blocked.at("seconds").get<double>();
      if (share(waited) < 1) continue;
      text += fmt::format("  {:>29} {:>9.2f} s {:>4.0f}%  blocked on {}\n", "", waited, share(waited),
                          blocked.at("on").get<std::string>());
    }
  }
  return text;
}

std::string slowest_operator(const Json& statistics) {
  std::string slowest;
  double greatest = 0;
  for (const Json& stage : statistics) {
    const double seconds = stage.at("seconds").get<double>() * stage.at("threads").get<double>();
    for (const Json& op : stage.at("operators")) {
      const double share = op.at("busy_s").get<double>() / std::max(seconds, 1e-9);
      if (share <= greatest) continue;
      greatest = share;
      slowest = op.at("name").get<std::string>();
    }
  }
  return slowest;
}

}  // namespace mobula::data
