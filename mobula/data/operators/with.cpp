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
  With(std::vector<std::pair<std::string, std::string>> columns, std::shared_ptr<BadRows> bad_rows)
      : bad_rows_(std::move(bad_rows)) {
    for (auto& [name, text] : columns) {
      expressions_.push_back(parse_expression(text));
      columns_.push_back({std::move(name), std::move(text)});
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
    for (const auto& expression : expressions_) {
      for (std::string& name : expression->columns()) columns.push_back(std::move(name));
    }
    return columns;
  }
  std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) override {
    arrow::FieldVector fields = input->fields();
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      Column& column = columns_[i];
      auto field = arrow::field(column.name, bound_type(*expressions_[i], input, describe()));
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
  void change(Block& block) const override {
    arrow::ArrayVector values = evaluate_rows(expressions_, block, describe(), *bad_rows_);
    arrow::ArrayVector arrays = block.batch->columns();
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (columns_[i].position >= 0) {
        arrays[static_cast<std::size_t>(columns_[i].position)] = std::move(values[i]);
      } else {
        arrays.push_back(std::move(values[i]));
      }
    }
    block.batch = arrow::RecordBatch::Make(schema_, block.batch->num_rows(), std::move(arrays));
  }

 private:
  struct Column {
    std::string name;
    std::string text;
    int position = -1;  ///< of the column it replaces
  };
  std::vector<Column> columns_;
  ExpressionList expressions_;  ///< of the columns
  std::shared_ptr<BadRows> bad_rows_;
  std::shared_ptr<arrow::Schema> schema_;
};

}  // namespace

std::unique_ptr<BlockOperator> with_operator(std::vector<std::pair<std::string, std::string>> columns,
                                             std::shared_ptr<BadRows> bad_rows) {
  return std::make_unique<With>(std::move(columns), std::move(bad_rows));
}

}  // namespace mobula::data
