#include <fmt/format.h>

#include <deque>

#include "mobula/data/engine/rebatcher.hpp"
#include "mobula/data/plan/plan.hpp"
#include "mobula/data/plan/row_tracks.hpp"
#include "mobula/data/sources/open_source.hpp"

namespace mobula::data {
namespace {

class RepartitionSource : public Source {
 public:
  RepartitionSource(std::unique_ptr<Source> input, std::int64_t rows)
      : input_(std::move(input)), rows_(rows), rebatcher_(rows) {}

  std::shared_ptr<arrow::Schema> schema() override { return input_->schema(); }
  std::unique_ptr<Piece> next() override {
    const auto keep = [this](RecordBatchPointer batch) {
      ready_.push_back(std::move(batch));
      return true;
    };
    while (ready_.empty() && !ended_) {
      const auto piece = input_->next();
      ended_ = piece == nullptr;
      if (ended_ && !rebatcher_.empty()) keep(rebatcher_.rest());
      if (ended_) break;
      while (true) {
        const Block block = piece->read();
        if (block.batch == nullptr) break;
        rebatcher_.add(block.batch, keep);
      }
    }
    if (ready_.empty()) return nullptr;
    std::vector<Block> block{{std::move(ready_.front())}};
    ready_.pop_front();
    return open_blocks(schema(), std::move(block))->next();
  }
  std::string describe() const override { return fmt::format("repartition({})", rows_); }

 private:
  std::unique_ptr<Source> input_;
  std::int64_t rows_;
  Rebatcher rebatcher_;
  std::deque<RecordBatchPointer> ready_;
  bool ended_ = false;
};

}  // namespace

Stretch RepartitionNode::prepare(PlanContext& context) const {
  auto input = stage_source(input_->prepare(context), nullptr, context, 0);
  if (context.tracks == nullptr) return {std::make_unique<RepartitionSource>(std::move(input), rows_), {}};
  auto before = input->handed_on_by();
  auto blocks = std::make_unique<RepartitionSource>(track(std::move(input), context.tracks), rows_);
  return {untrack(std::move(blocks), context.tracks, std::move(before)), {}};
}

}  // namespace mobula::data
