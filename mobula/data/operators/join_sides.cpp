#include "mobula/data/operators/join_sides.hpp"

#include <arrow/array.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/array/util.h>
#include <arrow/compute/api_vector.h>
#include <arrow/datum.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/take_rows.hpp"

namespace mobula::data {
namespace {

bool has_null_key(const arrow::RecordBatch& batch, const std::vector<KeyColumn>& keys, std::int64_t row) {
  return std::any_of(keys.begin(), keys.end(),
                     [&](const KeyColumn& key) { return batch.column(key.position)->IsNull(row); });
}

}  // namespace

JoinLayout::JoinLayout(JoinKind kind_, const std::vector<std::string>& on, const arrow::Schema& left,
                       const arrow::Schema& right)
    : kind(kind_),
      left_keys(find_key_columns(left, on, "join, left side")),
      right_keys(find_key_columns(right, on, "join, right side")) {
  for (std::size_t i = 0; i < on.size(); ++i) {
    const auto& left_type = left.field(left_keys[i].position)->type();
    const auto& right_type = right.field(right_keys[i].position)->type();
    if (!left_type->Equals(*right_type)) {
      throw_invalid(fmt::format("join: column '{}' is {} on the left and {} on the right", on[i], left_type->ToString(),
                                right_type->ToString()),
                    "cast one of them first");
    }
  }
  arrow::FieldVector fields = left.fields();
  for (int i = 0; i < right.num_fields(); ++i) {
    const bool is_key =
        std::any_of(right_keys.begin(), right_keys.end(), [i](const KeyColumn& key) { return key.position == i; });
    if (is_key) continue;
    kept.push_back(i);
    if (kind == JoinKind::semi || kind == JoinKind::anti) continue;
    const auto& field = right.field(i);
    if (left.GetFieldIndex(field->name()) >= 0)
      throw_invalid(fmt::format("join: both sides have a column '{}'", field->name()), "rename one of them first");
    fields.push_back(field->WithNullable(true));
  }
  schema = arrow::schema(std::move(fields));
}

JoinTable::JoinTable(std::shared_ptr<arrow::RecordBatch> rows, const std::vector<KeyColumn>& keys)
    : rows_(std::move(rows)) {
  const RowKeys encoded(*rows_, keys, "join");
  index_.reserve(encoded.size());
  for (std::size_t row = 0; row < encoded.size(); ++row) {
    const auto at = static_cast<std::int64_t>(row);
    if (!has_null_key(*rows_, keys, at)) index_.emplace(encoded[row], at);
  }
}

std::shared_ptr<arrow::RecordBatch> JoinTable::probe(const std::shared_ptr<arrow::RecordBatch>& left,
                                                     const JoinLayout& layout, std::vector<char>* matched) const {
  const RowKeys keys(*left, layout.left_keys, "join");
  arrow::Int64Builder left_rows;
  arrow::Int64Builder right_rows;
  std::string key;
  std::vector<std::int64_t> matches;
  for (std::int64_t row = 0; row < left->num_rows(); ++row) {
    matches.clear();
    if (!has_null_key(*left, layout.left_keys, row)) {
      key.assign(keys[static_cast<std::size_t>(row)]);
      const auto range = index_.equal_range(key);
      for (auto match = range.first; match != range.second; ++match) matches.push_back(match->second);
    }
    if (matched != nullptr && !matches.empty()) (*matched)[static_cast<std::size_t>(row)] = 1;
    if (layout.kind == JoinKind::semi || layout.kind == JoinKind::anti) {
      if (matched == nullptr && matches.empty() == (layout.kind == JoinKind::anti))
        check(left_rows.Append(row), "join");
      continue;
    }
    if (matches.empty() && layout.kind == JoinKind::left && matched == nullptr) {
      check(left_rows.Append(row), "join");
      check(right_rows.AppendNull(), "join");
    }
    std::sort(matches.begin(), matches.end());
    for (const std::int64_t match : matches) {
      check(left_rows.Append(row), "join");
      check(right_rows.Append(match), "join");
    }
  }
  const auto picked = take(left_rows.Finish(), "join");
  auto columns = take(arrow::compute::Take(left, picked), "join").record_batch()->columns();
  if (layout.kind == JoinKind::inner || layout.kind == JoinKind::left) {
    const auto right = take(rows_->SelectColumns(layout.kept), "join");
    if (right->num_columns() > 0) {
      const auto taken = take(arrow::compute::Take(right, take(right_rows.Finish(), "join")), "join").record_batch();
      for (const auto& column : taken->columns()) columns.push_back(column);
    }
  }
  return arrow::RecordBatch::Make(layout.schema, picked->length(), std::move(columns));
}

std::shared_ptr<arrow::RecordBatch> finish_unmatched(const std::shared_ptr<arrow::RecordBatch>& left,
                                                     const JoinLayout& layout, const std::vector<char>& matched) {
  std::vector<std::uint32_t> rows;
  for (std::size_t row = 0; row < matched.size(); ++row) {
    if ((matched[row] != 0) == (layout.kind == JoinKind::semi)) rows.push_back(static_cast<std::uint32_t>(row));
  }
  const auto picked = take_rows(left, rows, "join");
  auto columns = picked->columns();
  for (int i = picked->num_columns(); i < layout.schema->num_fields(); ++i)
    columns.push_back(take(arrow::MakeArrayOfNull(layout.schema->field(i)->type(), picked->num_rows()), "join"));
  return arrow::RecordBatch::Make(layout.schema, picked->num_rows(), std::move(columns));
}

}  // namespace mobula::data
