#include "mobula/data/plan/plan.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/plain_types.hpp"
#include "mobula/data/plan/row_tracks.hpp"
#include "mobula/data/plan/zip_source.hpp"
#include "mobula/data/sources/block_piece.hpp"

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
    return std::make_unique<OperatedPiece>(std::move(piece), stretch_, num_pieces_++);
  }
  std::string describe() const override {
    std::string text = stretch_->source->describe();
    for (const auto& op : stretch_->operators) text += " | " + op->describe();
    return text;
  }
  std::vector<const StretchStatistics*> handed_on_by() const override { return stretch_->source->handed_on_by(); }

 private:
  class OperatedPiece : public Piece {
   public:
    OperatedPiece(std::unique_ptr<Piece> piece, std::shared_ptr<const Stretch> stretch, std::uint64_t number)
        : piece_(std::move(piece)), stretch_(std::move(stretch)), number_(number << 20) {}
    Block read() override {
      Block block = piece_->read();
      block.number = number_++;
      for (std::size_t i = 0; block.batch != nullptr && i < stretch_->operators.size(); ++i) {
        stretch_->operators[i]->change(block);
      }
      return block;
    }

   private:
    std::unique_ptr<Piece> piece_;
    std::shared_ptr<const Stretch> stretch_;
    std::uint64_t number_;
  };

  std::shared_ptr<Stretch> stretch_;
  std::shared_ptr<arrow::Schema> schema_;
  std::uint64_t num_pieces_ = 0;
};

/// A source of which what is read is counted, and what can't be read is noted.
class CountedSource : public Source {
 public:
  /// `rows` null: nothing is counted.
  CountedSource(std::unique_ptr<Source> source, std::shared_ptr<SourceRows> rows, std::shared_ptr<BadRows> bad_rows)
      : source_(std::move(source)), rows_(std::move(rows)), bad_rows_(std::move(bad_rows)) {}

  std::shared_ptr<arrow::Schema> schema() override { return source_->schema(); }
  std::unique_ptr<Piece> next() override {
    auto piece = source_->next();
    return piece == nullptr ? nullptr : counted(std::move(piece));
  }
  std::string describe() const override { return source_->describe(); }
  std::int64_t num_rows() override { return source_->num_rows(); }
  std::vector<PiecePlace> places() override { return source_->places(); }
  std::unique_ptr<Piece> open(const PiecePlace& place) const override { return counted(source_->open(place)); }
  std::vector<std::string> files() const override { return source_->files(); }
  void push_filter(const std::shared_ptr<const Expression>& filter) override { source_->push_filter(filter); }
  void push_columns(const std::vector<std::string>& columns) override { source_->push_columns(columns); }
  void know_columns(const std::shared_ptr<arrow::Schema>& columns) override { source_->know_columns(columns); }
  std::vector<const StretchStatistics*> handed_on_by() const override { return source_->handed_on_by(); }
  std::string note() const override { return source_->note(); }

 private:
  std::unique_ptr<Piece> counted(std::unique_ptr<Piece> piece) const {
    return std::make_unique<ChangedPiece>(std::move(piece), [rows = rows_, bad_rows = bad_rows_](Block& block) {
      for (UnreadRow& row : block.unread)
        bad_rows->skip(block.origin->describe(row.number), row.reader, row.reason, std::move(row.text));
      block.unread.clear();
      if (rows != nullptr) rows->add(block);
    });
  }

  std::unique_ptr<Source> source_;
  std::shared_ptr<SourceRows> rows_;
  std::shared_ptr<BadRows> bad_rows_;
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
  std::vector<const StretchStatistics*> handed_on_by() const override {
    std::vector<const StretchStatistics*> stretches;
    for (const auto& input : inputs_) {
      for (const StretchStatistics* stretch : input->handed_on_by()) stretches.push_back(stretch);
    }
    return stretches;
  }

 private:
  std::vector<std::unique_ptr<Source>> inputs_;
  std::size_t next_ = 0;
};

}  // namespace

void push_down(Stretch& stretch) {
  // Filters that come first see the source's own columns; with() may have changed what stands behind it.
  for (const auto& op : stretch.operators) {
    const auto predicate = op->predicate();
    if (predicate == nullptr) break;
    stretch.source->push_filter(predicate);
  }
  std::vector<std::string> columns;
  for (const auto& op : stretch.operators) {
    const auto reads = op->reads();
    if (!reads) return;
    for (const std::string& column : *reads) {
      if (std::find(columns.begin(), columns.end(), column) == columns.end()) columns.push_back(column);
    }
    if (op->narrows()) {
      stretch.source->push_columns(columns);
      return;
    }
  }
}

const StretchStatistics& run_stretch(Stretch& stretch, Sink& sink, PlanContext& context) {
  push_down(stretch);
  StretchStatistics& statistics = context.statistics->add();
  execute(*stretch.source, stretch.operators, sink, context.execute_options(), statistics);
  context.statistics->note(statistics, stretch.source->note());
  return statistics;
}

std::unique_ptr<Source> PlanContext::open_source(const OpenSource& open) {
  std::unique_ptr<Source> source;
  if (part != nullptr) {
    source = part(open, "");
    if (source == nullptr) return in_order("source", [&] { return Stretch{open_source(open), {}}; }).source;
  } else {
    source = open();
  }
  if (!counts_sources && !bad_rows->skips()) return source;
  auto rows = counts_sources ? statistics->add_source(source->describe()) : nullptr;
  return std::make_unique<CountedSource>(std::move(source), std::move(rows), bad_rows);
}

Stretch PlanContext::in_order(const std::string& name, const std::function<Stretch()>& make) {
  if (part == nullptr) return make();
  // What stands before is not cut into parts: it runs once, in threads of its own.
  const PartSource whole = std::exchange(part, nullptr);
  auto source = whole([&] { return stage_source(make(), nullptr, *this, 0); }, name);
  part = whole;
  return {std::move(source), {}};
}

Stretch ExcludeNode::prepare(PlanContext& context) const {
  const std::size_t before = context.excluded.size();
  context.excluded.insert(context.excluded.end(), patterns_.begin(), patterns_.end());
  Stretch stretch = input_->prepare(context);
  context.excluded.resize(before);
  return stretch;
}

void ExcludeNode::open_sources(PlanContext& context, std::vector<std::unique_ptr<Source>>& sources) const {
  const std::size_t before = context.excluded.size();
  context.excluded.insert(context.excluded.end(), patterns_.begin(), patterns_.end());
  input_->open_sources(context, sources);
  context.excluded.resize(before);
}

Stretch BarrierNode::prepare(PlanContext& context) const {
  context.ordered = true;
  return context.in_order(name_, [&] {
    Stretch stretch = input_->prepare(context);
    const auto barrier = make_(context);
    if (context.tracks == nullptr || !keeps_rows_) {
      run_stretch(stretch, *barrier, context);
      return Stretch{barrier->result(), {}};
    }
    TrackedSink sink(*barrier, context.tracks);
    const StretchStatistics& before = run_stretch(stretch, sink, context);
    return Stretch{untrack(barrier->result(), context.tracks, {&before}), {}};
  });
}

Stretch UnionNode::prepare(PlanContext& context) const {
  return context.in_order("union", [&] {
    std::vector<std::unique_ptr<Source>> sources;
    for (const auto& input : inputs_) {
      Stretch stretch = input->prepare(context);
      push_down(stretch);
      sources.push_back(std::make_unique<StretchSource>(std::move(stretch)));
    }
    return Stretch{std::make_unique<UnionSource>(std::move(sources)), {}};
  });
}

Stretch StageNode::prepare(PlanContext& context) const {
  if (step_ == nullptr) return {stage_source(input_->prepare(context), nullptr, context, num_threads_), {}};
  context.ordered = true;
  return context.in_order(name_, [&] {
    return Stretch{stage_source(input_->prepare(context), step_(), context, num_threads_), {}};
  });
}

Stretch ZipNode::prepare(PlanContext& context) const {
  context.ordered = true;
  return context.in_order("zip", [&] {
    auto left = stage_source(left_->prepare(context), nullptr, context, 0);
    auto right = stage_source(right_->prepare(context), nullptr, context, 0);
    if (context.tracks == nullptr) return Stretch{zip_source(std::move(left), std::move(right)), {}};
    auto before = left->handed_on_by();
    auto zipped = zip_source(track(std::move(left), context.tracks), std::move(right));
    return Stretch{untrack(std::move(zipped), context.tracks, std::move(before)), {}};
  });
}

std::int64_t run_plan(const PlanNode& root, Sink& sink, PlanContext& context) {
  initialize_arrow();
  Stretch stretch = root.prepare(context);
  return run_stretch(stretch, sink, context).operators.back()->rows;
}

std::shared_ptr<arrow::Schema> schema_of(const PlanNode& root, PlanContext& context) {
  initialize_arrow();
  Stretch stretch = root.prepare(context);
  auto schema = stretch.source->schema();
  for (const auto& op : stretch.operators) schema = op->bind(schema);
  return schema;
}

}  // namespace mobula::data
