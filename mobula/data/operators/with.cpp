#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/operators/block_operators.hpp"
#include "mobula/data/operators/row_evaluation.hpp"

namespace mobula::data {
namespace {

class With : public BlockOperator {
 public:
  explicit With(std::vector<std::pair<std::string, std::string>> columns) {
    for (auto& [name, text] : columns) {
      auto expression = parse_expression(text);
      columns_.push_back({std::move(name), std::move(text), std::move(expression)});
    }
  }

  std::string describe() const override {
    std::string text;
    for (const Column& column : columns_)
      text += fmt::format("{}{} = {}", text.empty() ? "" : ", ", column.name, column.text);
    return fmt::format("with({})", text);
  }
  std::optional<std::vector<std::string>> reads() const override {
    std::vector<std::string> columns;
    for (const Column& column : columns_) {
      for (std::string& name : column.expression->columns()) columns.push_back(std::move(name));
    }
    return columns;
  }
  std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) override {
    arrow::FieldVector fields = input->fields();
    for (Column& column : columns_) {
      auto field = arrow::field(column.name, bound_type(*column.expression, input, describe()));
      column.position = input->GetFieldIndex(column.name);
      if (column.position >= 0) {
        fields[static_cast<std::size_t>(column.position)] = std::move(field);
      } else {
        fields.push_back(std::move(field));
      }
    }
    schema_ = arrow::schema(std::move(fields));
    return schema_;
  }
  std::shared_ptr<arrow::RecordBatch> apply(const Block& block) const override {
    arrow::ArrayVector arrays = block.batch->columns();
    for (const Column& column : columns_) {
      auto values = evaluate_rows(*column.expression, block, describe());
      if (column.position >= 0) {
        arrays[static_cast<std::size_t>(column.position)] = std::move(values);
      } else {
        arrays.push_back(std::move(values));
      }
    }
    return arrow::RecordBatch::Make(schema_, block.batch->num_rows(), std::move(arrays));
  }

 private:
  struct Column {
    std::string name;
    std::string text;
    std::shared_ptr<const Expression> expression;
    int position = -1;  ///< of the column it replaces
  };
  std::vector<Column> columns_;
  std::shared_ptr<arrow::Schema> schema_;
};

}  // namespace

std::unique_ptr<BlockOperator> with_operator(std::vector<std::pair<std::string, std::string>> columns) {
  return std::make_unique<With>(std::move(columns));
}

}  // namespace mobula::data
