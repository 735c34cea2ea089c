#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <condition_variable>
#include <mutex>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/operators/block_operators.hpp"
#include "mobula/data/operators/failing_rows.hpp"
#include "mobula/data/operators/reported_rows.hpp"
#include "mobula/data/rows/row_numbers.hpp"

namespace mobula::data {
namespace {

std::string hint_of(const std::exception& error) {
  const auto* own = dynamic_cast<const Error*>(&error);
  return own == nullptr ? std::string() : own->hint();
}

class MapBatches : public BlockOperator {
 public:
  MapBatches(std::string name, std::function<BatchFunction()> make, int max_instances,
             std::shared_ptr<arrow::Schema> schema, std::shared_ptr<BadRows> bad_rows)
      : name_(std::move(name)),
        make_(std::move(make)),
        max_instances_(max_instances),
        schema_(std::move(schema)),
        bad_rows_(std::move(bad_rows)) {}

  std::string describe() const override { return fmt::format("map_batches({})", name_); }
  std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) override {
    if (schema_ == nullptr) {
      auto result = call({take(arrow::RecordBatch::MakeEmpty(input), name_), nullptr});
      take_row_numbers(result);
      schema_ = result->schema();
    }
    return schema_;
  }
  void change(Block& block) const override {
    auto result = call(block);
    const auto from = take_row_numbers(result);
    for (Json& bad : take_bad_rows(result)) {
      fail_row(block, std::stoll(bad.at("where").get<std::string>()),
               {.op = fmt::format("{}: {}", name_, bad.at("operator").get<std::string>()),
                .reason = bad.at("reason").get<std::string>(),
                .row = std::move(bad.at("row"))},
               *bad_rows_);
    }
    if (!result->schema()->Equals(*schema_)) {
      throw Error(ErrorCode::task_failed, fmt::format("{}: gave columns ({}) where ({}) are promised", describe(),
                                                      result->schema()->ToString(), schema_->ToString()));
    }
    block.replace(std::move(result), from);
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
  std::shared_ptr<BadRows> bad_rows_;
  mutable std::mutex mutex_;
  mutable std::condition_variable returned_;
  mutable std::vector<BatchFunction> idle_;
  mutable int num_made_ = 0;
};

}  // namespace

std::unique_ptr<BlockOperator> map_batches_operator(std::string name, std::function<BatchFunction()> make,
                                                    int max_instances, std::shared_ptr<arrow::Schema> schema,
                                                    std::shared_ptr<BadRows> bad_rows) {
  return std::make_unique<MapBatches>(std::move(name), std::move(make), max_instances, std::move(schema),
                                      std::move(bad_rows));
}

}  // namespace mobula::data
