#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <condition_variable>
#include <mutex>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/operators/block_operators.hpp"

namespace mobula::data {
namespace {

std::string hint_of(const std::exception& error) {
  const auto* own = dynamic_cast<const Error*>(&error);
  return own == nullptr ? std::string() : own->hint();
}

class MapBatches : public BlockOperator {
 public:
  MapBatches(std::string name, std::function<BatchFunction()> make, int max_instances,
             std::shared_ptr<arrow::Schema> schema)
      : name_(std::move(name)), make_(std::move(make)), max_instances_(max_instances), schema_(std::move(schema)) {}

  std::string describe() const override { return fmt::format("map_batches({})", name_); }
  std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) override {
    if (schema_ == nullptr) schema_ = call({take(arrow::RecordBatch::MakeEmpty(input), name_), nullptr})->schema();
    return schema_;
  }
  void change(Block& block) const override {
    auto result = call(block);
    if (!result->schema()->Equals(*schema_)) {
      throw Error(ErrorCode::task_failed, fmt::format("{}: gave columns ({}) where ({}) are promised", describe(),
                                                      result->schema()->ToString(), schema_->ToString()));
    }
    block.replace(std::move(result));
  }

 private:
  std::shared_ptr<arrow::RecordBatch> call(const Block& block) const {
    BatchFunction function = borrow();
    std::shared_ptr<arrow::RecordBatch> result;
    try {
      result = function(block.batch);
    } catch (const std::exception& error) {
      give_back(std::move(function));
      Error wrapped(
          ErrorCode::task_failed,
          fmt::format("{}{}: {}", describe(), block.file == nullptr ? "" : " on rows of " + *block.file, error.what()),
          hint_of(error));
      throw wrapped.caused_by(std::current_exception());
    }
    give_back(std::move(function));
    if (result == nullptr) throw Error(ErrorCode::task_failed, fmt::format("{}: returned no batch", describe()));
    return result;
  }

  BatchFunction borrow() const {
    std::unique_lock lock(mutex_);
    while (idle_.empty() && max_instances_ > 0 && num_made_ >= max_instances_) returned_.wait(lock);
    if (idle_.empty()) {
      ++num_made_;
      lock.unlock();
      return make_();
    }
    BatchFunction function = std::move(idle_.back());
    idle_.pop_back();
    return function;
  }
  void give_back(BatchFunction function) const {
    {
      const std::lock_guard lock(mutex_);
      idle_.push_back(std::move(function));
    }
    returned_.notify_one();
  }

  std::string name_;
  std::function<BatchFunction()> make_;
  int max_instances_;
  std::shared_ptr<arrow::Schema> schema_;
  mutable std::mutex mutex_;
  mutable std::condition_variable returned_;
  mutable std::vector<BatchFunction> idle_;
  mutable int num_made_ = 0;
};

}  // namespace

std::unique_ptr<BlockOperator> map_batches_operator(std::string name, std::function<BatchFunction()> make,
                                                    int max_instances, std::shared_ptr<arrow::Schema> schema) {
  return std::make_unique<MapBatches>(std::move(name), std::move(make), max_instances, std::move(schema));
}

}  // namespace mobula::data
