#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <numeric>
#include <utility>
#include <vector>

#include "mobula/data/operators/block_operators.hpp"
#include "mobula/data/operators/bucket_order.hpp"
#include "mobula/data/plan/plan.hpp"

namespace mobula::data {
namespace {

/// Mixes the rows of each block; blocks are the windows.
class MixBlocks : public BlockOperator {
 public:
  MixBlocks(std::uint64_t seed, std::int64_t window) : seed_(seed), window_(window) {}
  std::string describe() const override { return fmt::format("random_shuffle(window {})", window_); }
  std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) override { return input; }
  bool keeps_rows() const override { return false; }
  void change(Block& block) const override {
    std::vector<std::uint32_t> order(static_cast<std::size_t>(block.batch->num_rows()));
    std::iota(order.begin(), order.end(), 0);
    shuffle_bucket(seed_, block.number, order);
    block.pick(order, "random_shuffle");
  }

 private:
  std::uint64_t seed_;
  std::int64_t window_;
};

}  // namespace

Stretch WindowShuffleNode::prepare(PlanContext& context) const {
  context.ordered = true;
  return context.in_order("random_shuffle", [&] {
    Stretch windows = RepartitionNode(input_, window_).prepare(context);
    windows.operators.push_back(std::make_unique<MixBlocks>(seed_, window_));
    return windows;
  });
}

}  // namespace mobula::data
