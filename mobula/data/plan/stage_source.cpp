#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "mobula/data/feed/channel.hpp"
#include "mobula/data/plan/plan.hpp"

namespace mobula::data {
namespace {

constexpr std::size_t kBlocksAhead = 4;

/// Hands blocks to another thread, in order, through the step.
class StageSink : public Sink {
 public:
  StageSink(Channel<Block>& channel, OrderedStep* step, std::string name)
      : channel_(channel), step_(step), name_(std::move(name)) {}
  std::string describe() const override { return name_; }
  void open(const std::shared_ptr<arrow::Schema>&) override {}
  bool consume(std::unique_ptr<Prepared> prepared) override {
    Block block = std::move(static_cast<PreparedBlock&>(*prepared).block);
    const bool more = step_ == nullptr || step_->apply(block);
    if (block.batch->num_rows() > 0 && !channel_.push(std::move(block))) {
      let_go_ = true;
      return false;
    }
    ended_ = !more;
    return more;
  }
  void finish() override {
    if (step_ != nullptr && !ended_ && !let_go_) step_->finish();
  }

 private:
  Channel<Block>& channel_;
  OrderedStep* step_;
  std::string name_;
  bool ended_ = false;
  bool let_go_ = false;
};

class ReadyPiece : public Piece {
 public:
  explicit ReadyPiece(Block block) : block_(std::move(block)) {}
  Block read() override { return std::exchange(block_, {}); }

 private:
  Block block_;
};

class StageSource : public Source {
 public:
  StageSource(Stretch stretch, std::unique_ptr<OrderedStep> step, std::shared_ptr<RunStatistics> run,
              ExecuteOptions options)
      : stretch_(std::move(stretch)),
        step_(std::move(step)),
        run_(std::move(run)),
        statistics_(run_->add()),
        options_(std::move(options)),
        channel_(kBlocksAhead) {
    for (const auto& op : stretch_.operators)
      description_ += fmt::format("{}{}", description_.empty() ? "" : " | ", op->describe());
    if (step_ != nullptr) description_ += fmt::format("{}{}", description_.empty() ? "" : " | ", step_->describe());
    if (description_.empty()) description_ = stretch_.source->describe();
  }
  ~StageSource() override {
    channel_.close();
    if (thread_.joinable()) thread_.join();
  }

  std::shared_ptr<arrow::Schema> schema() override {
    if (schema_ != nullptr) return schema_;
    push_down(stretch_);
    schema_ = stretch_.source->schema();
    // execute() binds the operators again, to the same columns.
    for (const auto& op : stretch_.operators) schema_ = op->bind(schema_);
    if (step_ != nullptr) schema_ = step_->bind(schema_);
    return schema_;
  }
  std::unique_ptr<Piece> next() override {
    schema();
    if (!thread_.joinable() && !ended_) thread_ = std::thread([this] { run(); });
    auto block = channel_.pop();
    if (!block) {
      ended_ = true;
      return nullptr;
    }
    return std::make_unique<ReadyPiece>(std::move(*block));
  }
  std::string describe() const override { return fmt::format("stage({})", description_); }
  std::vector<const StretchStatistics*> handed_on_by() const override { return {&statistics_}; }

 private:
  void run() {
    try {
      StageSink sink(channel_, step_.get(), step_ == nullptr ? "next stage" : step_->describe());
      execute(*stretch_.source, stretch_.operators, sink, options_, statistics_);
      run_->note(statistics_, stretch_.source->note());
      channel_.finish();
    } catch (...) {
      channel_.finish(std::current_exception());
    }
  }

  Stretch stretch_;
  std::unique_ptr<OrderedStep> step_;
  std::shared_ptr<RunStatistics> run_;
  StretchStatistics& statistics_;
  ExecuteOptions options_;
  std::string description_;
  std::shared_ptr<arrow::Schema> schema_;
  Channel<Block> channel_;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Source> stage_source(Stretch stretch, std::unique_ptr<OrderedStep> step, PlanContext& context,
                                     int num_threads) {
  ExecuteOptions options = context.execute_options();
  if (num_threads > 0) options.num_threads = num_threads;
  return std::make_unique<StageSource>(std::move(stretch), std::move(step), context.statistics, std::move(options));
}

}  // namespace mobula::data
