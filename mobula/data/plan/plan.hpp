/// What a dataset is before it runs: a tree of nodes, each of which knows how to become a stretch of a pipeline.
/// Internal to this layer.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mobula/data/engine/bad_rows.hpp"
#include "mobula/data/engine/executor.hpp"

namespace mobula::data {

class RowTracks;

/// Opens a source.
using OpenSource = std::function<std::unique_ptr<Source>()>;
/// Gives the part of a source that a run is about; `open` opens the whole of it, of which no more than one part is read at a
/// time. `held_back_by` names what needs the rows before the part's, so that they come one after the other; empty: they should be
/// found by their numbers, and null comes back where they can't be.
using PartSource = std::function<std::unique_ptr<Source>(const OpenSource& open, const std::string& held_back_by)>;

/// A source with operators that were not applied yet.
struct Stretch {
  std::unique_ptr<Source> source;
  std::vector<std::unique_ptr<BlockOperator>> operators;
};

/// What nodes may use while they are made ready.
struct PlanContext {
  std::uint64_t memory = std::uint64_t{256} << 20;  ///< of operators that hold rows back, in bytes
  std::uint64_t disk = std::uint64_t{64} << 30;     ///< that spilled rows may take
  std::filesystem::path spill_directory;            ///< empty: the system's temporary folder
  int num_threads = 0;                              ///< 0: one a core
  std::shared_ptr<RunStatistics> statistics = std::make_shared<RunStatistics>();
  std::shared_ptr<BadRows> bad_rows = std::make_shared<BadRows>(ErrorPolicy());

  bool ordered = true;                ///< false: rows may come out in any order; nodes that need order set it
  std::string token_column;           ///< whose lists the manifest counts as tokens
  std::vector<std::string> excluded;  ///< patterns of files that are not read
  std::shared_ptr<RowTracks> tracks;  ///< null: rows behind operators that mix them need not know their files
  bool counts_sources = false;        ///< what is read of each source goes into the statistics
  PartSource part;                    ///< null: the run is about all rows

  /// Returns what `open` opens, or the part of it that the run is about.
  std::unique_ptr<Source> open_source(const OpenSource& open);
  /// Returns a stretch whose rows only come one after the other, from the first on; or the part of them that the run is about.
  /// Nodes that see other rows before they give one go through here; `name` is theirs.
  Stretch in_order(const std::string& name, const std::function<Stretch()>& make);

  ExecuteOptions execute_options() const {
    return {.num_threads = num_threads, .ordered = ordered, .token_column = token_column};
  }
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
  /// Opens every source below, in order, unread.
  virtual void open_sources(PlanContext& context, std::vector<std::unique_ptr<Source>>& sources) const = 0;
};

/// A source.
class SourceNode : public PlanNode {
 public:
  explicit SourceNode(std::function<std::unique_ptr<Source>(const PlanContext&)> open) : open_(std::move(open)) {}
  Stretch prepare(PlanContext& context) const override {
    return {context.open_source([&] { return open_(context); }), {}};
  }
  std::string holds_back() const override { return {}; }
  void open_sources(PlanContext& context, std::vector<std::unique_ptr<Source>>& sources) const override {
    sources.push_back(open_(context));
  }

 private:
  std::function<std::unique_ptr<Source>(const PlanContext&)> open_;
};

/// An operator on blocks.
class OperatorNode : public PlanNode {
 public:
  OperatorNode(std::shared_ptr<const PlanNode> input,
               std::function<std::unique_ptr<BlockOperator>(const PlanContext&)> make)
      : input_(std::move(input)), make_(std::move(make)) {}
  Stretch prepare(PlanContext& context) const override {
    Stretch stretch = input_->prepare(context);
    stretch.operators.push_back(make_(context));
    return stretch;
  }
  std::string holds_back() const override { return input_->holds_back(); }
  void open_sources(PlanContext& context, std::vector<std::unique_ptr<Source>>& sources) const override {
    input_->open_sources(context, sources);
  }

 private:
  std::shared_ptr<const PlanNode> input_;
  std::function<std::unique_ptr<BlockOperator>(const PlanContext&)> make_;
};

/// The rows that are not of certain files.
class ExcludeNode : public PlanNode {
 public:
  ExcludeNode(std::shared_ptr<const PlanNode> input, std::vector<std::string> patterns)
      : input_(std::move(input)), patterns_(std::move(patterns)) {}
  Stretch prepare(PlanContext& context) const override;
  std::string holds_back() const override { return input_->holds_back(); }
  void open_sources(PlanContext& context, std::vector<std::unique_ptr<Source>>& sources) const override;

 private:
  std::shared_ptr<const PlanNode> input_;
  std::vector<std::string> patterns_;
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
  /// `keeps_rows`: the rows that come out are those that went in.
  BarrierNode(std::shared_ptr<const PlanNode> input, std::function<std::unique_ptr<Barrier>(const PlanContext&)> make,
              std::string name, bool keeps_rows)
      : input_(std::move(input)), make_(std::move(make)), name_(std::move(name)), keeps_rows_(keeps_rows) {}
  Stretch prepare(PlanContext& context) const override;
  std::string holds_back() const override { return name_; }
  void open_sources(PlanContext& context, std::vector<std::unique_ptr<Source>>& sources) const override {
    input_->open_sources(context, sources);
  }

 private:
  std::shared_ptr<const PlanNode> input_;
  std::function<std::unique_ptr<Barrier>(const PlanContext&)> make_;
  std::string name_;
  bool keeps_rows_;
};

/// The rows of one node after those of another, all of the first one's columns.
class UnionNode : public PlanNode {
 public:
  explicit UnionNode(std::vector<std::shared_ptr<const PlanNode>> inputs) : inputs_(std::move(inputs)) {}
  Stretch prepare(PlanContext& context) const override;
  std::string holds_back() const override { return "union"; }
  void open_sources(PlanContext& context, std::vector<std::unique_ptr<Source>>& sources) const override {
    for (const auto& input : inputs_) input->open_sources(context, sources);
  }

 private:
  std::vector<std::shared_ptr<const PlanNode>> inputs_;
};

/// What is done to blocks one after the other, in the order of the rows.
class OrderedStep {
 public:
  virtual ~OrderedStep() = default;
  virtual std::string describe() const = 0;
  /// Returns the columns that come out.
  virtual std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) { return input; }
  /// Changes a block; false ends the rows behind it.
  virtual bool apply(Block& block) = 0;
  /// Called once behind the last block, unless the rows were ended before. May throw.
  virtual void finish() {}
};

/// A stage of its own: its operators run in threads of their own, beside what comes behind, and hold no more than a few
/// blocks ahead of it. So each stage can be as parallel as its work wants, and what needs the order of rows gets it.
class StageNode : public PlanNode {
 public:
  /// `num_threads` 0: as many as the run has. `step` may be null.
  StageNode(std::shared_ptr<const PlanNode> input, std::string name, std::function<std::unique_ptr<OrderedStep>()> step,
            int num_threads = 0)
      : input_(std::move(input)), name_(std::move(name)), step_(std::move(step)), num_threads_(num_threads) {}
  Stretch prepare(PlanContext& context) const override;
  std::string holds_back() const override { return name_; }
  void open_sources(PlanContext& context, std::vector<std::unique_ptr<Source>>& sources) const override {
    input_->open_sources(context, sources);
  }

 private:
  std::shared_ptr<const PlanNode> input_;
  std::string name_;
  std::function<std::unique_ptr<OrderedStep>()> step_;
  int num_threads_;
};

/// The same rows in blocks of one size.
class RepartitionNode : public PlanNode {
 public:
  RepartitionNode(std::shared_ptr<const PlanNode> input, std::int64_t rows) : input_(std::move(input)), rows_(rows) {}
  Stretch prepare(PlanContext& context) const override;
  std::string holds_back() const override { return "repartition"; }
  void open_sources(PlanContext& context, std::vector<std::unique_ptr<Source>>& sources) const override {
    input_->open_sources(context, sources);
  }

 private:
  std::shared_ptr<const PlanNode> input_;
  std::int64_t rows_;
};

/// The rows mixed within windows of so many that follow each other.
class WindowShuffleNode : public PlanNode {
 public:
  WindowShuffleNode(std::shared_ptr<const PlanNode> input, std::uint64_t seed, std::int64_t window)
      : input_(std::move(input)), seed_(seed), window_(window) {}
  Stretch prepare(PlanContext& context) const override;
  std::string holds_back() const override { return "random_shuffle"; }
  void open_sources(PlanContext& context, std::vector<std::unique_ptr<Source>>& sources) const override {
    input_->open_sources(context, sources);
  }

 private:
  std::shared_ptr<const PlanNode> input_;
  std::uint64_t seed_;
  std::int64_t window_;
};

/// The rows of two nodes side by side.
class ZipNode : public PlanNode {
 public:
  ZipNode(std::shared_ptr<const PlanNode> left, std::shared_ptr<const PlanNode> right)
      : left_(std::move(left)), right_(std::move(right)) {}
  Stretch prepare(PlanContext& context) const override;
  std::string holds_back() const override { return "zip"; }
  void open_sources(PlanContext& context, std::vector<std::unique_ptr<Source>>& sources) const override {
    left_->open_sources(context, sources);
    right_->open_sources(context, sources);
  }

 private:
  std::shared_ptr<const PlanNode> left_;
  std::shared_ptr<const PlanNode> right_;
};

/// Makes a source of a stretch that runs in threads of its own, as StageNode does.
std::unique_ptr<Source> stage_source(Stretch stretch, std::unique_ptr<OrderedStep> step, PlanContext& context,
                                     int num_threads);

/// Tells the stretch's source which rows and columns its first operators want.
void push_down(Stretch& stretch);

/// Runs a stretch into the sink; returns its figures, which live as long as PlanContext::statistics.
const StretchStatistics& run_stretch(Stretch& stretch, Sink& sink, PlanContext& context);

/// Runs the tree into the sink; returns the number of rows that it took.
std::int64_t run_plan(const PlanNode& root, Sink& sink, PlanContext& context);

/// Returns the columns of a node's rows.
std::shared_ptr<arrow::Schema> schema_of(const PlanNode& root, PlanContext& context);

}  // namespace mobula::data
