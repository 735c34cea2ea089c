/// Operators that see all rows before they give the first. Internal to this layer: names Arrow's types.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mobula/data/dataset.hpp"
#include "mobula/data/plan/plan.hpp"

namespace mobula::data {

/// Puts rows into an order that depends on the seed, their number and nothing else: not on memory, threads or blocks.
std::unique_ptr<Barrier> shuffle_barrier(std::uint64_t seed, const PlanContext& context);
/// Sorts by keys; rows of equal keys keep their order. Nulls and NaN come last.
std::unique_ptr<Barrier> sort_barrier(std::vector<SortKey> keys, const PlanContext& context);
/// Gives one row for each key, in the order in which keys were first met as far as memory lasts, with aggregates.
std::unique_ptr<Barrier> groupby_barrier(std::vector<std::string> keys, std::vector<Aggregate> aggregates,
                                         const PlanContext& context);

/// Joins the rows of two nodes on columns of the same names. Where the right one fits the memory, the left one streams and
/// keeps its order; else both are put into files by key (GRACE; Kitsuregawa et al., 1983) and the rows come file by file.
/// `how`: inner, left, semi, anti.
class JoinNode : public PlanNode {
 public:
  JoinNode(std::shared_ptr<const PlanNode> left, std::shared_ptr<const PlanNode> right, std::vector<std::string> on,
           std::string how);
  Stretch prepare(PlanContext& context) const override;
  std::string holds_back() const override { return "join"; }
  void open_sources(PlanContext& context, std::vector<std::unique_ptr<Source>>& sources) const override {
    left_->open_sources(context, sources);
    right_->open_sources(context, sources);
  }

 private:
  Stretch join(PlanContext& context) const;

  std::shared_ptr<const PlanNode> left_;
  std::shared_ptr<const PlanNode> right_;
  std::vector<std::string> on_;
  std::string how_;
};

}  // namespace mobula::data
