#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/data/operators/failing_rows.hpp"
#include "mobula/data/sources/block_piece.hpp"
#include "mobula/data/sources/open_source.hpp"

namespace mobula::data {
namespace {

class GeneratorSource : public Source {
 public:
  GeneratorSource(std::string name, GenerateBatch generate, std::shared_ptr<arrow::Schema> schema)
      : name_(std::make_shared<const std::string>(std::move(name))),
        origin_(std::make_shared<NumberedRows>(name_)),
        generate_(std::move(generate)),
        schema_(std::move(schema)) {}

  std::shared_ptr<arrow::Schema> schema() override {
    if (schema_ != nullptr) return schema_;
    first_ = generate();
    if (first_ == nullptr) {
      throw_invalid(fmt::format("{}: no batch tells the columns", *name_),
                    "name the schema, so that there may be no rows");
    }
    schema_ = first_->schema();
    return schema_;
  }
  std::unique_ptr<Piece> next() override {
    schema();
    while (true) {
      auto batch = first_ != nullptr ? std::exchange(first_, nullptr) : generate();
      if (batch == nullptr) return nullptr;
      if (!batch->schema()->Equals(*schema_)) {
        throw_invalid(fmt::format("{}: batch {} has other columns ({}) than the first one ({})", *name_, num_batches_,
                                  batch->schema()->ToString(), schema_->ToString()));
      }
      if (batch->num_rows() == 0) continue;
      Block block{std::move(batch), nullptr, origin_};
      block.first_row = num_rows_;
      num_rows_ += block.batch->num_rows();
      return std::make_unique<BlockPiece>(std::move(block));
    }
  }
  std::string describe() const override { return *name_; }

 private:
  RecordBatchPointer generate() {
    if (ended_) return nullptr;
    ++num_batches_;
    try {
      auto batch = generate_();
      ended_ = batch == nullptr;
      return batch;
    } catch (const std::exception& error) {
      throw Error(ErrorCode::task_failed,
                  fmt::format("{}: batch {}, behind row {}: {}", *name_, num_batches_, num_rows_, reason_of(error)));
    }
  }

  std::shared_ptr<const std::string> name_;
  std::shared_ptr<const RowOrigin> origin_;
  GenerateBatch generate_;
  std::shared_ptr<arrow::Schema> schema_;
  RecordBatchPointer first_;  ///< made to know the columns
  std::int64_t num_batches_ = 0;
  std::int64_t num_rows_ = 0;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<Source> open_generator(std::string name, GenerateBatch generate,
                                       std::shared_ptr<arrow::Schema> schema) {
  return std::make_unique<GeneratorSource>(std::move(name), std::move(generate), std::move(schema));
}

}  // namespace mobula::data
