#include "mobula/data/shards/mds_order.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/shards/numpy_random.hpp"

namespace mobula::data {
namespace {

/// Samples [begin, end).
using SampleSpan = std::pair<std::int64_t, std::int64_t>;

std::int64_t length(const SampleSpan& span) {
  return span.second - span.first;
}

/// Shards, dealt out to canonical nodes.
struct Dealt {
  std::vector<SampleSpan> spans;                           ///< shards, cut where nodes meet
  std::vector<std::pair<std::size_t, std::size_t>> nodes;  ///< which spans each node has

  auto begin_of(std::size_t node) { return spans.begin() + static_cast<std::ptrdiff_t>(nodes[node].first); }
  auto end_of(std::size_t node) { return spans.begin() + static_cast<std::ptrdiff_t>(nodes[node].second); }
};

std::vector<SampleSpan> shards_of(std::span<const std::int64_t> sizes) {
  std::vector<SampleSpan> spans;
  std::int64_t begin = 0;
  for (const std::int64_t size : sizes) {
    if (size < 0) throw_invalid(fmt::format("a shard of {} samples", size));
    spans.emplace_back(begin, begin + size);
    begin += size;
  }
  return spans;
}

/// Gives each node its equal share of samples, in the order of the shards.
Dealt deal(std::vector<SampleSpan> shards, std::int64_t num_samples, std::int64_t num_nodes) {
  Dealt dealt;
  std::size_t next = 0;
  std::int64_t so_far = 0;
  for (std::int64_t node = 0; node < num_nodes; ++node) {
    const std::int64_t node_end = num_samples * (node + 1) / num_nodes;
    const std::size_t first = dealt.spans.size();
    for (; next < shards.size(); ++next) {
      SampleSpan& shard = shards[next];
      if (node_end < so_far + length(shard)) {
        if (so_far < node_end) {
          const std::int64_t split = shard.first + node_end - so_far;
          dealt.spans.emplace_back(shard.first, split);
          shard.first = split;
          so_far = node_end;
        }
        break;
      }
      dealt.spans.push_back(shard);
      so_far += length(shard);
    }
    dealt.nodes.emplace_back(first, dealt.spans.size());
  }
  return dealt;
}

void append(std::vector<std::int64_t>& ids, const SampleSpan& span) {
  for (std::int64_t id = span.first; id < span.second; ++id) ids.push_back(id);
}

class Orders {
 public:
  Orders(std::span<const std::int64_t> sizes, const MdsOrderOptions& options)
      : options_(options), shards_(shards_of(sizes)), num_samples_(shards_.empty() ? 0 : shards_.back().second) {
    ids_.reserve(static_cast<std::size_t>(num_samples_));
  }

  std::vector<std::int64_t> naive() {
    append(ids_, {0, num_samples_});
    NumpyGenerator(options_.seed + options_.epoch).shuffle(ids_.begin(), ids_.end());
    return std::move(ids_);
  }

  /// Shuffles within each shard's part.
  std::vector<std::int64_t> py1s() {
    deal_shards();
    for (const SampleSpan& span : dealt_.spans) {
      append(ids_, span);
      epoch_.shuffle(ids_.end() - length(span), ids_.end());
    }
    return std::move(ids_);
  }

  /// Shuffles within blocks of about block_size samples, whose edges are drawn.
  std::vector<std::int64_t> py1br() {
    deal_shards();
    std::vector<std::int64_t> staggers;
    for (std::size_t node = 0; node < dealt_.nodes.size(); ++node)
      staggers.push_back(epoch_.integer(0, smallest_block()));
    for (std::size_t node = 0; node < dealt_.nodes.size(); ++node) {
      const auto node_begin = static_cast<std::int64_t>(ids_.size());
      std::for_each(dealt_.begin_of(node), dealt_.end_of(node), [this](const SampleSpan& span) { append(ids_, span); });
      const auto node_end = static_cast<std::int64_t>(ids_.size());
      std::vector<SampleSpan> blocks;
      for (std::int64_t end = node_begin; end < node_end;) {
        const std::int64_t size = epoch_.integer(smallest_block(), largest_block());
        blocks.emplace_back(std::max(end - staggers[node], node_begin),
                            std::min(end + size - staggers[node], node_end));
        end += length(blocks.back());
      }
      for (const SampleSpan& block : blocks) epoch_.shuffle(ids_.begin() + block.first, ids_.begin() + block.second);
    }
    return std::move(ids_);
  }

  /// Shuffles within each shard's part, then moves every sample by a number that is drawn for it.
  std::vector<std::int64_t> py1e() {
    deal_shards();
    for (std::size_t node = 0; node < dealt_.nodes.size(); ++node) spread(node);
    return std::move(ids_);
  }

  /// Shuffles within each shard, and within each shard's part again.
  std::vector<std::int64_t> py2s() {
    NumpyGenerator fixed(options_.seed);
    fixed.shuffle(shards_.begin(), shards_.end());
    // Samples by the place that their shard's span stands for, so that parts of shards stay spans.
    std::vector<std::int64_t> samples;
    std::vector<SampleSpan> places;
    for (const SampleSpan& shard : shards_) {
      const auto begin = static_cast<std::int64_t>(samples.size());
      append(samples, shard);
      fixed.shuffle(samples.begin() + begin, samples.end());
      places.emplace_back(begin, static_cast<std::int64_t>(samples.size()));
    }
    dealt_ = deal(std::move(places), num_samples_, options_.num_canonical_nodes);
    for (std::size_t node = 0; node < dealt_.nodes.size(); ++node) {
      epoch_.shuffle(dealt_.begin_of(node), dealt_.end_of(node));
      std::for_each(dealt_.begin_of(node), dealt_.end_of(node), [&](const SampleSpan& span) {
        ids_.insert(ids_.end(), samples.begin() + span.first, samples.begin() + span.second);
        epoch_.shuffle(ids_.end() - length(span), ids_.end());
      });
    }
    return std::move(ids_);
  }

 private:
  std::int64_t smallest_block() const {
    return static_cast<std::int64_t>(0.75 * static_cast<double>(options_.block_size));
  }
  std::int64_t largest_block() const {
    return static_cast<std::int64_t>(1.25 * static_cast<double>(options_.block_size));
  }

  /// Orders the shards for the whole training, deals them out, and orders each node's parts for the epoch.
  void deal_shards() {
    NumpyGenerator(options_.seed).shuffle(shards_.begin(), shards_.end());
    dealt_ = deal(std::move(shards_), num_samples_, options_.num_canonical_nodes);
    for (std::size_t node = 0; node < dealt_.nodes.size(); ++node)
      epoch_.shuffle(dealt_.begin_of(node), dealt_.end_of(node));
  }

  void spread(std::size_t node) {
    const std::size_t first = ids_.size();
    std::for_each(dealt_.begin_of(node), dealt_.end_of(node), [this](const SampleSpan& span) {
      append(ids_, span);
      epoch_.shuffle(ids_.end() - length(span), ids_.end());
    });
    const std::size_t size = ids_.size() - first;
    if (size == 0) {
      throw_invalid(fmt::format("py1e: canonical node {} of {} has no samples", node, options_.num_canonical_nodes),
                    "lower num_canonical_nodes");
    }
    std::vector<double> positions(size);
    std::iota(positions.begin(), positions.end(), 0.0);
    std::size_t offset = 0;
    std::for_each(dealt_.begin_of(node), dealt_.end_of(node), [&](const SampleSpan& span) {
      const std::int64_t block = epoch_.integer(smallest_block(), largest_block());
      const double reach = std::max(0.0, static_cast<double>(block - length(span)) / 2);
      const double low = std::max(-reach, -static_cast<double>(offset));
      const double high = std::min(reach, static_cast<double>(size - offset) - static_cast<double>(length(span)));
      for (std::int64_t i = 0; i < length(span); ++i) positions[offset++] += low + (high - low) * epoch_.real();
    });
    std::vector<std::size_t> order(size);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return positions[a] < positions[b]; });
    const std::vector<std::int64_t> before(ids_.begin() + static_cast<std::ptrdiff_t>(first), ids_.end());
    for (std::size_t i = 0; i < size; ++i) ids_[first + i] = before[order[i]];
  }

  const MdsOrderOptions& options_;
  std::vector<SampleSpan> shards_;
  std::int64_t num_samples_;
  NumpyGenerator epoch_{options_.seed + options_.epoch};
  Dealt dealt_;
  std::vector<std::int64_t> ids_;
};

}  // namespace

std::vector<std::int64_t> mds_sample_order(std::span<const std::int64_t> shard_sizes, const MdsOrderOptions& options) {
  if (options.num_canonical_nodes <= 0 || options.block_size < 2) {
    throw_invalid(
        fmt::format("{} canonical nodes, blocks of {} samples", options.num_canonical_nodes, options.block_size));
  }
  Orders orders(shard_sizes, options);
  if (options.algorithm == "py1e") return orders.py1e();
  if (options.algorithm == "py1br") return orders.py1br();
  if (options.algorithm == "py1s") return orders.py1s();
  if (options.algorithm == "py2s") return orders.py2s();
  if (options.algorithm == "naive") return orders.naive();
  throw_invalid(fmt::format("unknown order of samples '{}'", options.algorithm),
                suggest(options.algorithm, {"py1e", "py1br", "py1s", "py2s", "naive"}));
}

std::vector<std::int64_t> mds_partition(std::int64_t num_samples, const MdsPartitionOptions& options, std::int64_t node,
                                        std::int64_t rank, std::int64_t worker) {
  const std::int64_t canonical = options.num_canonical_nodes;
  const std::int64_t nodes = options.num_nodes;
  if (canonical <= 0 || nodes <= 0 || (canonical % nodes != 0 && nodes % canonical != 0)) {
    throw_invalid(
        fmt::format("{} canonical nodes and {} nodes: one must be a multiple of the other", canonical, nodes));
  }
  if (num_samples < canonical || (num_samples == canonical && canonical < nodes)) {
    throw_invalid(fmt::format("{} samples are too few for {} canonical nodes", num_samples, canonical),
                  "lower num_canonical_nodes");
  }
  if (node < 0 || node >= nodes || rank < 0 || rank >= options.ranks_per_node || worker < 0 ||
      worker >= options.workers_per_rank || options.batch_size <= 0) {
    throw_invalid(fmt::format("node {}, rank {}, worker {}: there is none", node, rank, worker));
  }
  // Each canonical node has a row of the samples in turn; short rows repeat their last sample, and rows are padded so that
  // the machines that share one have equally many.
  const std::int64_t row = (num_samples + canonical - 1) / canonical;
  const std::int64_t sharing = canonical < nodes ? nodes / canonical : 1;
  const std::int64_t padding = (sharing - row % sharing) % sharing;
  const auto sample = [&](std::int64_t of_node, std::int64_t column) {
    if (column >= row) column -= padding + sharing - 1;
    const std::int64_t begin = of_node * num_samples / canonical;
    const std::int64_t size = (of_node + 1) * num_samples / canonical - begin;
    return begin + std::min(column, size - 1);
  };
  // Read column by column, this is the order of the epoch, of which every machine has each nodes-th sample.
  const std::int64_t drop = options.drop_first - options.drop_first % nodes;
  const std::int64_t total = canonical * (row + padding) - drop;
  const std::int64_t per_node = std::max<std::int64_t>(0, total / nodes);
  const auto of_node = [&](std::int64_t index) {
    const std::int64_t position = drop + index * nodes + node;
    return sample(position % canonical, position / canonical);
  };
  const std::int64_t ranks = options.ranks_per_node;
  const std::int64_t missing = (ranks - per_node % ranks) % ranks;
  if (missing > 0 && ranks + missing - 1 > per_node) {
    throw_invalid(fmt::format("{} samples of a node are too few for {} ranks", per_node, ranks));
  }
  const std::int64_t per_rank = (per_node + missing) / ranks;
  const auto of_rank = [&](std::int64_t index) -> std::int64_t {
    if (index >= per_rank) return -1;
    const std::int64_t position = index * ranks + rank;
    // Those that are missing are some that came shortly before.
    return of_node(position < per_node ? position : position - ranks - missing + 1);
  };
  const std::int64_t round = options.workers_per_rank * options.batch_size;
  std::vector<std::int64_t> positions;
  for (std::int64_t begin = 0; begin < per_rank; begin += round) {
    for (std::int64_t i = 0; i < options.batch_size; ++i)
      positions.push_back(of_rank(begin + worker * options.batch_size + i));
  }
  return positions;
}

}  // namespace mobula::data
