#include "mobula/data/plan/plan.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/plain_types.hpp"
#include "mobula/data/sources/open_source.hpp"

namespace mobula::data {
namespace {

/// A stretch as a source: its operators run where its pieces are read.
class StretchSource : public Source {
 public:
  explicit StretchSource(Stretch stretch) : stretch_(std::make_shared<Stretch>(std::move(stretch))) {}

  std::shared_ptr<arrow::Schema> schema() override {
    if (schema_ == nullptr) {
      schema_ = stretch_->source->schema();
      for (const auto& op : stretch_->operators) schema_ = op->bind(schema_);
    }
    return schema_;
  }
  std::unique_ptr<Piece> next() override {
    schema();
    auto piece = stretch_->source->next();
    if (piece == nullptr) return nullptr;
    return std::make_unique<OperatedPiece>(std::move(piece), stretch_);
  }
  std::string describe() const override {
    std::string text = stretch_->source->describe();
    for (const auto& op : stretch_->operators) text += " | " + op->describe();
    return text;
  }

 private:
  class OperatedPiece : public Piece {
   public:
    OperatedPiece(std::unique_ptr<Piece> piece, std::shared_ptr<const Stretch> stretch)
        : piece_(std::move(piece)), stretch_(std::move(stretch)) {}
    Block read() override {
      Block block = piece_->read();
      for (std::size_t i = 0; block.batch != nullptr && i < stretch_->operators.size(); ++i) {
        block.batch = stretch_->operators[i]->apply(block);
      }
      return block;
    }

   private:
    std::unique_ptr<Piece> piece_;
    std::shared_ptr<const Stretch> stretch_;
  };

  std::shared_ptr<Stretch> stretch_;
  std::shared_ptr<arrow::Schema> schema_;
};

class UnionSource : public Source {
 public:
  explicit UnionSource(std::vector<std::unique_ptr<Source>> inputs) : inputs_(std::move(inputs)) {}

  std::shared_ptr<arrow::Schema> schema() override {
    const auto first = inputs_.front()->schema();
    for (const auto& input : inputs_) {
      if (!input->schema()->Equals(*first)) {
        throw_invalid(fmt::format("union: the columns of {} ({}) differ from those of {} ({})", input->describe(),
                                  input->schema()->ToString(), inputs_.front()->describe(), first->ToString()),
                      "select and cast them alike first");
      }
    }
    return first;
  }
  std::unique_ptr<Piece> next() override {
    for (; next_ < inputs_.size(); ++next_) {
      if (auto piece = inputs_[next_]->next()) return piece;
    }
    return nullptr;
  }
  std::string describe() const override { return fmt::format("union({} inputs)", inputs_.size()); }

 private:
  std::vector<std::unique_ptr<Source>> inputs_;
  std::size_t next_ = 0;
};

/// Passes the first rows on to another sink, through operators.
class LimitSink : public Sink {
 public:
  LimitSink(std::int64_t rows, std::vector<std::unique_ptr<BlockOperator>> operators, Sink& sink)
      : left_(rows),
        operators_(std::move(operators)),
        sink_(sink),
        description_(fmt::format("limit({}) | {}", rows, sink.describe())) {}

  std::string describe() const override { return description_; }
  void open(const std::shared_ptr<arrow::Schema>& schema) override {
    auto output = schema;
    for (const auto& op : operators_) output = op->bind(output);
    sink_.open(output);
  }
  bool consume(std::unique_ptr<Prepared> prepared) override {
    Block block = std::move(static_cast<PreparedBlock&>(*prepared).block);
    if (block.batch->num_rows() > left_) block.batch = block.batch->Slice(0, left_);
    left_ -= block.batch->num_rows();
    for (const auto& op : operators_) block.batch = op->apply(block);
    const std::int64_t rows = block.batch->num_rows();
    if (rows == 0) return left_ > 0;
    auto inner = sink_.prepare(std::move(block));
    inner->rows = rows;
    return sink_.consume(std::move(inner)) && left_ > 0;
  }
  void finish() override { sink_.finish(); }

 private:
  std::int64_t left_;
  std::vector<std::unique_ptr<BlockOperator>> operators_;
  Sink& sink_;
  std::string description_;
};

/// Keeps blocks in memory.
class CollectSink : public Sink {
 public:
  std::string describe() const override { return "collect"; }
  void open(const std::shared_ptr<arrow::Schema>& schema) override { schema_ = schema; }
  bool consume(std::unique_ptr<Prepared> prepared) override {
    blocks_.push_back(std::move(static_cast<PreparedBlock&>(*prepared).block));
    return true;
  }
  std::unique_ptr<Source> result() { return open_blocks(schema_, std::move(blocks_)); }

 private:
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<Block> blocks_;
};

void run_stretch(Stretch& stretch, Sink& sink, PlanContext& context) {
  context.stretches.push_back(std::make_unique<StretchStatistics>());
  execute(*stretch.source, stretch.operators, sink, context.execute_options(), *context.stretches.back());
}

}  // namespace

Stretch BarrierNode::prepare(PlanContext& context) const {
  Stretch stretch = input_->prepare(context);
  const auto barrier = make_(context);
  run_stretch(stretch, *barrier, context);
  return {barrier->result(), {}};
}

Stretch UnionNode::prepare(PlanContext& context) const {
  std::vector<std::unique_ptr<Source>> sources;
  for (const auto& input : inputs_) sources.push_back(std::make_unique<StretchSource>(input->prepare(context)));
  return {std::make_unique<UnionSource>(std::move(sources)), {}};
}

Stretch LimitNode::prepare(PlanContext& context) const {
  CollectSink collect;
  Stretch stretch = input_->prepare(context);
  LimitSink limit(rows_, {}, collect);
  run_stretch(stretch, limit, context);
  return {collect.result(), {}};
}

void run_plan(const PlanNode& root, Sink& sink, PlanContext& context) {
  initialize_arrow();
  // A limit at the end holds nothing back: it stops the stretch before it.
  if (const auto* limit = dynamic_cast<const LimitNode*>(&root)) {
    Stretch stretch = limit->input()->prepare(context);
    LimitSink limited(limit->rows(), {}, sink);
    run_stretch(stretch, limited, context);
    return;
  }
  Stretch stretch = root.prepare(context);
  run_stretch(stretch, sink, context);
}

std::shared_ptr<arrow::Schema> schema_of(const PlanNode& root, PlanContext& context) {
  initialize_arrow();
  Stretch stretch = root.prepare(context);
  auto schema = stretch.source->schema();
  for (const auto& op : stretch.operators) schema = op->bind(schema);
  return schema;
}

}  // namespace mobula::data
