#include "mobula/data/feed/feed.hpp"

#include <arrow/array.h>
#include <arrow/array/array_nested.h>
#include <arrow/array/util.h>
#include <arrow/buffer.h>
#include <arrow/compute/cast.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <thread>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/take_rows.hpp"
#include "mobula/data/engine/spill.hpp"
#include "mobula/data/feed/channel.hpp"

namespace mobula::data {
namespace {

constexpr std::size_t kDocumentsAtOnce = 64;  ///< read together for packing

/// A document on its way into sequences.
struct Document {
  SequenceSample sample;
  SequenceState after;  ///< the sequence's state once it was drawn
  std::vector<std::int64_t> tokens;
};

/// A document of which some tokens were handed out.
struct OpenDocument {
  SequenceSample sample;
  std::uint64_t offset = 0;
};

Json to_json(const SequenceSample& sample) {
  return {{"source", sample.source}, {"sample", sample.sample}, {"epoch", sample.epoch}};
}

std::vector<std::int64_t> tokens_of(const arrow::RecordBatch& batch, int column, std::int64_t row) {
  const auto& array = *batch.column(column);
  if (array.IsNull(row)) return {};
  std::shared_ptr<arrow::Array> items;
  switch (array.type_id()) {
    case arrow::Type::LIST:
      items = static_cast<const arrow::ListArray&>(array).value_slice(row);
      break;
    case arrow::Type::LARGE_LIST:
      items = static_cast<const arrow::LargeListArray&>(array).value_slice(row);
      break;
    default:
      items = static_cast<const arrow::FixedSizeListArray&>(array).value_slice(row);
  }
  const auto cast = take(arrow::compute::Cast(*items, arrow::int64()), "packing");
  if (cast->null_count() > 0)
    throw_invalid(fmt::format("packing: column '{}' has nulls in it", batch.column_name(column)));
  const auto& values = static_cast<const arrow::Int64Array&>(*cast);
  return {values.raw_values(), values.raw_values() + values.length()};
}

template <class T>
std::shared_ptr<arrow::Array> lists_of(std::vector<T> values, std::size_t length,
                                       const std::shared_ptr<arrow::DataType>& type) {
  const auto size = static_cast<std::int64_t>(values.size());
  auto items =
      arrow::MakeArray(arrow::ArrayData::Make(type, size, {nullptr, arrow::Buffer::FromVector(std::move(values))}, 0));
  return take(arrow::FixedSizeListArray::FromArrays(std::move(items), static_cast<std::int32_t>(length)), "packing");
}

}  // namespace

/// Makes step after step; used by one thread.
class Feed::Maker {
 public:
  /// A step and where the feed is after it.
  struct Step {
    FeedBatch batch;
    Json cursor;
  };

  Maker(std::vector<FeedSource> sources, FeedOptions options, FeedShare share, const Json& cursor)
      : sources_(std::move(sources)),
        options_(std::move(options)),
        share_(share),
        sequence_(sequence_options(sources_, options_)),
        packer_(options_.pack_column.empty() ? PackOptions{.length = 1} : options_.pack) {
    if (share_.world_size <= 0 || share_.rank < 0 || share_.rank >= share_.world_size)
      throw_invalid(fmt::format("feed: rank {} of {}", share_.rank, share_.world_size));
    if (options_.batch_size == 0) throw_invalid("feed: a batch of 0 samples");
    for (const CurriculumStage& stage : options_.curriculum)
      check_weights(stage.weights, sources_.size(), "feed: curriculum");
    std::stable_sort(options_.curriculum.begin(), options_.curriculum.end(),
                     [](const auto& a, const auto& b) { return a.from_step < b.from_step; });
    const auto& schema = *sources_.front().samples->schema();
    for (const FeedSource& source : sources_) {
      if (!source.samples->schema()->Equals(schema)) {
        throw_invalid(fmt::format("feed: the columns of '{}' ({}) differ from those of '{}' ({})", source.name,
                                  source.samples->schema()->ToString(), sources_.front().name, schema.ToString()),
                      "select and cast them alike first");
      }
    }
    if (!options_.pack_column.empty()) check_pack_column(schema);
    for (const FeedSource& source : sources_) num_rows_ += source.samples->num_rows();
    if (!cursor.is_null()) restore(cursor);
  }

  std::optional<Step> next() {
    apply_curriculum();
    Step made;
    made.batch.step = step_;
    const bool any = options_.pack_column.empty() ? make_rows(made.batch) : make_sequences(made.batch);
    if (!any) return std::nullopt;
    ++step_;
    made.cursor = cursor();
    return made;
  }

  Json cursor() const {
    Json cursor = identity();
    cursor["step"] = step_;
    cursor["consumed"] = state_.consumed;
    if (open_) {
      cursor["document"] = to_json(open_->sample);
      cursor["document"]["offset"] = open_->offset;
    }
    return cursor;
  }

 private:
  static SampleSequenceOptions sequence_options(const std::vector<FeedSource>& sources, const FeedOptions& options) {
    SampleSequenceOptions made;
    if (sources.empty()) throw_invalid("feed: no sources");
    for (const FeedSource& source : sources) {
      if (source.samples == nullptr) throw_invalid(fmt::format("feed: source '{}' has no samples", source.name));
      if (source.samples->num_rows() == 0) throw_invalid(fmt::format("feed: source '{}' holds no rows", source.name));
      made.sources.push_back({source.samples->num_rows(), source.weight, source.epochs});
    }
    made.seed = options.seed;
    made.shuffle = options.shuffle;
    made.window = options.window;
    made.when_ended = options.when_ended;
    return made;
  }

  void check_pack_column(const arrow::Schema& schema) {
    column_ = schema.GetFieldIndex(options_.pack_column);
    if (column_ < 0)
      throw Error(ErrorCode::not_found, fmt::format("feed: no column '{}' to pack", options_.pack_column),
                  fmt::format("the columns are {}", fmt::join(schema.field_names(), ", ")));
    const auto& type = *schema.field(column_)->type();
    const bool list = type.id() == arrow::Type::LIST || type.id() == arrow::Type::LARGE_LIST ||
                      type.id() == arrow::Type::FIXED_SIZE_LIST;
    if (!list || !arrow::is_integer(type.field(0)->type()->id())) {
      throw_invalid(
          fmt::format("feed: column '{}' is {}, not lists of token ids", options_.pack_column, type.ToString()),
          "tokenize the texts first");
    }
  }

  /// What a cursor must share with the feed that goes on from it.
  Json identity() const {
    Json sources = Json::array();
    for (const FeedSource& source : sources_)
      sources.push_back({{"name", source.name},
                         {"samples", source.samples->num_rows()},
                         {"weight", source.weight},
                         {"epochs", source.epochs}});
    Json stages = Json::array();
    for (const CurriculumStage& stage : options_.curriculum)
      stages.push_back({{"from_step", stage.from_step}, {"weights", stage.weights}});
    Json pack = nullptr;
    if (!options_.pack_column.empty()) {
      pack = {{"column", options_.pack_column},
              {"length", options_.pack.length},
              {"split_documents", options_.pack.split_documents}};
    }
    return {{"version", 1},
            {"sources", std::move(sources)},
            {"seed", options_.seed},
            {"shuffle", options_.shuffle},
            {"window", options_.window},
            {"when_ended", options_.when_ended == WhenEnded::stop ? "stop" : "leave_out"},
            {"pack", std::move(pack)},
            {"curriculum", std::move(stages)}};
  }

  void restore(const Json& cursor) {
    const Json expected = identity();
    for (const auto& [key, value] : expected.items()) {
      if (!cursor.is_object() || !cursor.contains(key) || cursor.at(key) != value) {
        throw_invalid(fmt::format("feed: the cursor's {} is {}, and {} here", key,
                                  cursor.is_object() && cursor.contains(key) ? to_line(cursor.at(key)) : "missing",
                                  to_line(value)),
                      "a cursor goes on with the sources and the order that it was made with");
      }
    }
    try {
      step_ = cursor.at("step").get<std::uint64_t>();
      SequenceState state;
      state.consumed = cursor.at("consumed").get<std::vector<std::uint64_t>>();
      for (const std::uint64_t consumed : state.consumed) state.position += consumed;
      sequence_.restore(state);
      state_ = std::move(state);
      if (cursor.contains("document")) {
        const Json& document = cursor.at("document");
        open_ = OpenDocument{{document.at("source").get<std::size_t>(), document.at("sample").get<std::uint64_t>(),
                              document.at("epoch").get<std::uint64_t>()},
                             document.at("offset").get<std::uint64_t>()};
        if (open_->sample.source >= sources_.size()) throw_invalid("feed: the cursor's document is of no source");
        std::vector<Document> read{{open_->sample, state_, {}}};
        read_tokens(read);
        if (open_->offset > read.front().tokens.size())
          throw_invalid("feed: the cursor's document is shorter than it was");
        documents_.push_back(std::move(read.front()));
      }
    } catch (const Json::exception& error) {
      throw_invalid(fmt::format("feed: not a cursor: {}", error.what()));
    }
  }

  /// Draws with the step's weights; documents drawn ahead with others go back.
  void apply_curriculum() {
    const CurriculumStage* stage = nullptr;
    for (const CurriculumStage& candidate : options_.curriculum) {
      if (candidate.from_step <= step_) stage = &candidate;
    }
    if (stage == stage_) return;
    stage_ = stage;
    weights_ = stage == nullptr ? std::vector<double>() : stage->weights;
    while (documents_.size() > (open_ ? 1 : 0)) documents_.pop_back();
    sequence_.restore(state_);
  }

  /// Returns the samples of `sources` [begin, end) as one batch, in their order.
  RecordBatchPointer read(const std::vector<SequenceSample>& samples) const {
    std::vector<RecordBatchPointer> parts;
    std::vector<std::uint32_t> order(samples.size());
    std::uint32_t done = 0;
    for (std::size_t source = 0; source < sources_.size(); ++source) {
      std::vector<std::uint64_t> rows;
      for (std::size_t i = 0; i < samples.size(); ++i) {
        if (samples[i].source != source) continue;
        rows.push_back(samples[i].sample);
        order[i] = done++;
      }
      if (!rows.empty()) parts.push_back(sources_[source].samples->take(rows));
    }
    auto batch = combine_batches(parts, sources_.front().samples->schema());
    return std::is_sorted(order.begin(), order.end()) ? batch : take_rows(batch, order, "feed");
  }

  /// Returns this worker's part of `size` samples.
  std::pair<std::size_t, std::size_t> part_of(std::size_t size) const {
    const auto rank = static_cast<std::size_t>(share_.rank);
    const auto world_size = static_cast<std::size_t>(share_.world_size);
    return {size * rank / world_size, size * (rank + 1) / world_size};
  }

  bool make_rows(FeedBatch& batch) {
    std::vector<SequenceSample> samples;
    while (samples.size() < options_.batch_size) {
      const auto sample = sequence_.next(weights_);
      if (!sample) break;
      samples.push_back(*sample);
    }
    if (samples.empty() || (options_.drop_last && samples.size() < options_.batch_size)) return false;
    state_ = sequence_.state();
    const auto part = part_of(samples.size());
    batch.samples.assign(samples.begin() + static_cast<std::ptrdiff_t>(part.first),
                         samples.begin() + static_cast<std::ptrdiff_t>(part.second));
    batch.rows = read(batch.samples);
    return true;
  }

  void read_tokens(std::vector<Document>& documents) const {
    std::vector<SequenceSample> samples;
    for (const Document& document : documents) samples.push_back(document.sample);
    const auto rows = read(samples);
    for (std::size_t i = 0; i < documents.size(); ++i)
      documents[i].tokens = tokens_of(*rows, column_, static_cast<std::int64_t>(i));
  }

  bool draw_documents() {
    std::vector<Document> drawn;
    while (drawn.size() < kDocumentsAtOnce) {
      const auto sample = sequence_.next(weights_);
      if (!sample) break;
      drawn.push_back({*sample, sequence_.state(), {}});
    }
    if (drawn.empty()) return false;
    read_tokens(drawn);
    for (Document& document : drawn) documents_.push_back(std::move(document));
    return true;
  }

  bool make_sequences(FeedBatch& batch) {
    std::vector<PackedSequence> made;
    while (made.size() < options_.batch_size) {
      packer_.begin();
      while (!packer_.full()) {
        if (documents_.empty() && !draw_documents()) break;
        Document& document = documents_.front();
        const std::uint64_t offset = open_ ? open_->offset : 0;
        const std::size_t taken = packer_.add(std::span(document.tokens).subspan(offset));
        state_ = document.after;
        num_empty_ = document.tokens.empty() ? num_empty_ + 1 : 0;
        if (num_empty_ > num_rows_)
          throw_invalid(fmt::format("feed: no list in column '{}' holds a token", options_.pack_column));
        if (offset + taken == document.tokens.size()) {
          open_.reset();
          documents_.pop_front();
        } else {
          open_ = OpenDocument{document.sample, offset + taken};
        }
      }
      if (packer_.empty()) break;
      made.push_back(packer_.finish());
    }
    if (made.empty() || (options_.drop_last && made.size() < options_.batch_size)) return false;
    const auto part = part_of(made.size());
    std::vector<std::int64_t> tokens;
    std::vector<std::int32_t> documents;
    std::vector<std::int32_t> positions;
    for (std::size_t i = part.first; i < part.second; ++i) {
      tokens.insert(tokens.end(), made[i].tokens.begin(), made[i].tokens.end());
      documents.insert(documents.end(), made[i].documents.begin(), made[i].documents.end());
      positions.insert(positions.end(), made[i].positions.begin(), made[i].positions.end());
    }
    const std::size_t length = options_.pack.length;
    const arrow::ArrayVector columns{lists_of(std::move(tokens), length, arrow::int64()),
                                     lists_of(std::move(documents), length, arrow::int32()),
                                     lists_of(std::move(positions), length, arrow::int32())};
    const auto schema =
        arrow::schema({arrow::field("tokens", columns[0]->type()), arrow::field("document", columns[1]->type()),
                       arrow::field("position", columns[2]->type())});
    batch.rows = arrow::RecordBatch::Make(schema, static_cast<std::int64_t>(part.second - part.first), columns);
    return true;
  }

  std::vector<FeedSource> sources_;
  FeedOptions options_;
  FeedShare share_;
  SampleSequence sequence_;
  SequencePacker packer_;
  int column_ = -1;
  std::uint64_t num_rows_ = 0;   ///< of all sources
  std::uint64_t num_empty_ = 0;  ///< documents without tokens in a row
  std::uint64_t step_ = 0;
  SequenceState state_{0, std::vector<std::uint64_t>(sources_.size())};  ///< of what was handed out
  const CurriculumStage* stage_ = nullptr;
  std::vector<double> weights_;
  std::deque<Document> documents_;    ///< drawn; the first is open_ where there is one
  std::optional<OpenDocument> open_;  ///< of which the last step took a part
};

struct Feed::State {
  State(Maker maker_, int prefetch)
      : maker(std::move(maker_)), cursor(maker.cursor()), ahead(static_cast<std::size_t>(std::max(prefetch, 1))) {
    if (prefetch > 0) thread = std::thread([this] { run(); });
  }
  ~State() {
    ahead.close();
    if (thread.joinable()) thread.join();
  }
  void run() {
    try {
      while (auto step = maker.next()) {
        if (!ahead.push(std::move(*step))) break;
      }
      ahead.finish();
    } catch (...) {
      ahead.finish(std::current_exception());
    }
  }

  Maker maker;
  Json cursor;
  Channel<Maker::Step> ahead;
  std::thread thread;
};

Feed::Feed(std::vector<FeedSource> sources, FeedOptions options, FeedShare share, const Json& cursor) {
  const int prefetch = options.prefetch;
  state_ = std::make_unique<State>(Maker(std::move(sources), std::move(options), share, cursor), prefetch);
}
Feed::Feed(Feed&&) noexcept = default;
Feed& Feed::operator=(Feed&&) noexcept = default;
Feed::~Feed() = default;

std::optional<FeedBatch> Feed::next() {
  auto step = state_->thread.joinable() ? state_->ahead.pop() : state_->maker.next();
  if (!step) return std::nullopt;
  state_->cursor = std::move(step->cursor);
  return std::move(step->batch);
}

const Json& Feed::cursor() const {
  return state_->cursor;
}

std::vector<Feed> streaming_split(const Dataset& dataset, int world_size, const FeedOptions& options,
                                  const Json& cursor, std::uint64_t epochs) {
  const auto store = std::make_shared<const SampleStore>(dataset);
  std::vector<Feed> feeds;
  for (int rank = 0; rank < world_size; ++rank)
    feeds.emplace_back(std::vector<FeedSource>{{"dataset", store, 1, epochs}}, options, FeedShare{rank, world_size},
                       cursor);
  return feeds;
}

}  // namespace mobula::data
