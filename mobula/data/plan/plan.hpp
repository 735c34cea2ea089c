/// What a dataset is before it runs: a tree of nodes, each of which knows how to become a stretch of a pipeline.
/// Internal to this layer.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mobula/data/engine/executor.hpp"

namespace mobula::data {

/// What nodes may use while they are made ready.
struct PlanContext {
  std::uint64_t memory = std::uint64_t{256} << 20;            ///< of operators that hold rows back, in bytes
  std::uint64_t disk = std::uint64_t{64} << 30;               ///< that spilled rows may take
  std::filesystem::path spill_directory;                      ///< empty: the system's temporary folder
  int num_threads = 0;                                        ///< 0: one a core
  std::vector<std::unique_ptr<StretchStatistics>> stretches;  ///< of what ran so far

  ExecuteOptions execute_options() const { return {.num_threads = num_threads}; }
};

/// A source with operators that were not applied yet.
struct Stretch {
  std::unique_ptr<Source> source;
  std::vector<std::unique_ptr<BlockOperator>> operators;
};

/// A node. Immutable: many datasets share nodes, and each run makes its own stretch.
class PlanNode {
 public:
  virtual ~PlanNode() = default;
  /// Makes the stretch whose rows are this node's. Runs what must have ended before the first of them is known.
  virtual Stretch prepare(PlanContext& context) const = 0;
  /// Names the operator that needs other rows before it can give one, so that rows can't be found by number; empty where
  /// there is none.
  virtual std::string holds_back() const = 0;
};

/// A source.
class SourceNode : public PlanNode {
 public:
  explicit SourceNode(std::function<std::unique_ptr<Source>()> open) : open_(std::move(open)) {}
  Stretch prepare(PlanContext&) const override { return {open_(), {}}; }
  std::string holds_back() const override { return {}; }

 private:
  std::function<std::unique_ptr<Source>()> open_;
};

/// An operator on blocks.
class OperatorNode : public PlanNode {
 public:
  OperatorNode(std::shared_ptr<const PlanNode> input, std::function<std::unique_ptr<BlockOperator>()> make)
      : input_(std::move(input)), make_(std::move(make)) {}
  Stretch prepare(PlanContext& context) const override {
    Stretch stretch = input_->prepare(context);
    stretch.operators.push_back(make_());
    return stretch;
  }
  std::string holds_back() const override { return input_->holds_back(); }

 private:
  std::shared_ptr<const PlanNode> input_;
  std::function<std::unique_ptr<BlockOperator>()> make_;
};

/// A sink that gives back as a source what it took in: sort, shuffle, groupby.
class Barrier : public Sink {
 public:
  /// Returns the rows that come out. Called once, after finish(); the source outlives the barrier.
  virtual std::unique_ptr<Source> result() = 0;
};

/// An operator that sees all rows before it gives the first one.
class BarrierNode : public PlanNode {
 public:
  BarrierNode(std::shared_ptr<const PlanNode> input, std::function<std::unique_ptr<Barrier>(const PlanContext&)> make,
              std::string name)
      : input_(std::move(input)), make_(std::move(make)), name_(std::move(name)) {}
  Stretch prepare(PlanContext& context) const override;
  std::string holds_back() const override { return name_; }

 private:
  std::shared_ptr<const PlanNode> input_;
  std::function<std::unique_ptr<Barrier>(const PlanContext&)> make_;
  std::string name_;
};

/// The rows of one node after those of another, all of the first one's columns.
class UnionNode : public PlanNode {
 public:
  explicit UnionNode(std::vector<std::shared_ptr<const PlanNode>> inputs) : inputs_(std::move(inputs)) {}
  Stretch prepare(PlanContext& context) const override;
  std::string holds_back() const override { return "union"; }

 private:
  std::vector<std::shared_ptr<const PlanNode>> inputs_;
};

/// The first rows of a node.
class LimitNode : public PlanNode {
 public:
  LimitNode(std::shared_ptr<const PlanNode> input, std::int64_t rows) : input_(std::move(input)), rows_(rows) {}
  Stretch prepare(PlanContext& context) const override;
  std::string holds_back() const override { return "limit"; }
  const std::shared_ptr<const PlanNode>& input() const { return input_; }
  std::int64_t rows() const { return rows_; }

 private:
  std::shared_ptr<const PlanNode> input_;
  std::int64_t rows_;
};

/// Runs the tree into the sink.
void run_plan(const PlanNode& root, Sink& sink, PlanContext& context);

/// Returns the columns of a node's rows.
std::shared_ptr<arrow::Schema> schema_of(const PlanNode& root, PlanContext& context);

}  // namespace mobula::data
