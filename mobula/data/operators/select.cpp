#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/operators/block_operators.hpp"

namespace mobula::data {
namespace {

int position_of(const arrow::Schema& schema, const std::string& column, std::string_view op) {
  const int position = schema.GetFieldIndex(column);
  if (position < 0) {
    throw Error(ErrorCode::invalid_argument, fmt::format("{}: no column '{}'", op, column),
                suggest(column, schema.field_names()));
  }
  return position;
}

/// Keeps columns by position, under other names. What is kept is decided when the columns are known.
class Pick : public BlockOperator {
 public:
  struct Column {
    int position;
    std::string name;
  };
  using Choose = std::function<std::vector<Column>(const arrow::Schema&)>;

  /// `only`: the columns that are looked at, where the choice does not depend on others.
  Pick(std::string description, Choose choose, std::optional<std::vector<std::string>> only = std::nullopt)
      : description_(std::move(description)), choose_(std::move(choose)), only_(std::move(only)) {}

  std::string describe() const override { return description_; }
  std::optional<std::vector<std::string>> reads() const override { return only_; }
  bool narrows() const override { return only_.has_value(); }
  std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) override {
    arrow::FieldVector fields;
    positions_.clear();
    for (const Column& column : choose_(*input)) {
      positions_.push_back(column.position);
      for (const auto& field : fields) {
        if (field->name() == column.name)
          throw_invalid(fmt::format("{}: column '{}' comes out twice", description_, column.name));
      }
      fields.push_back(input->field(column.position)->WithName(column.name));
    }
    schema_ = arrow::schema(std::move(fields));
    return schema_;
  }
  void change(Block& block) const override {
    arrow::ArrayVector columns;
    for (const int position : positions_) columns.push_back(block.batch->column(position));
    block.batch = arrow::RecordBatch::Make(schema_, block.batch->num_rows(), std::move(columns));
  }

 private:
  std::string description_;
  Choose choose_;
  std::optional<std::vector<std::string>> only_;
  std::vector<int> positions_;
  std::shared_ptr<arrow::Schema> schema_;
};

}  // namespace

std::unique_ptr<BlockOperator> select_operator(std::vector<std::string> columns) {
  std::string description = fmt::format("select({})", fmt::join(columns, ", "));
  const auto choose = [columns](const arrow::Schema& schema) {
    std::vector<Pick::Column> picked;
    for (const std::string& column : columns) picked.push_back({position_of(schema, column, "select"), column});
    return picked;
  };
  return std::make_unique<Pick>(std::move(description), choose, std::move(columns));
}

std::unique_ptr<BlockOperator> drop_operator(std::vector<std::string> columns) {
  std::string description = fmt::format("drop({})", fmt::join(columns, ", "));
  return std::make_unique<Pick>(std::move(description), [columns = std::move(columns)](const arrow::Schema& schema) {
    for (const std::string& column : columns) position_of(schema, column, "drop");
    std::vector<Pick::Column> picked;
    for (int i = 0; i < schema.num_fields(); ++i) {
      const std::string& name = schema.field(i)->name();
      if (std::find(columns.begin(), columns.end(), name) == columns.end()) picked.push_back({i, name});
    }
    return picked;
  });
}

std::unique_ptr<BlockOperator> rename_operator(std::vector<std::pair<std::string, std::string>> names) {
  std::string description;
  for (const auto& [from, to] : names)
    description += fmt::format("{}{} to {}", description.empty() ? "" : ", ", from, to);
  return std::make_unique<Pick>(fmt::format("rename({})", description),
                                [names = std::move(names)](const arrow::Schema& schema) {
                                  std::vector<Pick::Column> picked;
                                  for (int i = 0; i < schema.num_fields(); ++i)
                                    picked.push_back({i, schema.field(i)->name()});
                                  for (const auto& [from, to] : names)
                                    picked[static_cast<std::size_t>(position_of(schema, from, "rename"))].name = to;
                                  return picked;
                                });
}

}  // namespace mobula::data
