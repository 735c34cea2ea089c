#include "mobula/data/shards/mds_samples.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <span>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/feed/sample_store.hpp"
#include "mobula/data/plan/plan.hpp"
#include "mobula/data/shards/mds_order.hpp"
#include "mobula/data/sources/mds_format.hpp"

namespace mobula::data {
namespace {

constexpr std::size_t kSamplesOfAPiece = 1024;

/// Rows of a store, by their numbers.
class NumberedSamples : public Source {
 public:
  NumberedSamples(std::string name, std::shared_ptr<const SampleStore> store, std::vector<std::uint64_t> samples,
                  std::vector<std::string> files)
      : name_(std::move(name)), store_(std::move(store)), samples_(std::move(samples)), files_(std::move(files)) {}

  std::shared_ptr<arrow::Schema> schema() override { return store_->schema(); }
  std::unique_ptr<Piece> next() override {
    if (next_ >= samples_.size()) return nullptr;
    const std::size_t begin = std::exchange(next_, std::min(samples_.size(), next_ + kSamplesOfAPiece));
    return open({0, begin, next_, next_ - begin});
  }
  std::string describe() const override { return name_; }
  std::int64_t num_rows() override { return static_cast<std::int64_t>(samples_.size()); }
  std::vector<PiecePlace> places() override {
    std::vector<PiecePlace> places;
    for (std::uint64_t begin = 0; begin < samples_.size(); begin += kSamplesOfAPiece) {
      const std::uint64_t end = std::min<std::uint64_t>(samples_.size(), begin + kSamplesOfAPiece);
      places.push_back({0, begin, end, end - begin});
    }
    return places;
  }
  std::unique_ptr<Piece> open(const PiecePlace& place) const override {
    return std::make_unique<SomeSamples>(
        store_, std::vector<std::uint64_t>(samples_.begin() + static_cast<std::ptrdiff_t>(place.begin),
                                           samples_.begin() + static_cast<std::ptrdiff_t>(place.end)));
  }
  std::vector<std::string> files() const override { return files_; }

 private:
  class SomeSamples : public Piece {
   public:
    SomeSamples(std::shared_ptr<const SampleStore> store, std::vector<std::uint64_t> samples)
        : store_(std::move(store)), samples_(std::move(samples)) {}
    Block read() override {
      if (samples_.empty()) return {};
      return {store_->take(std::exchange(samples_, {}))};
    }

   private:
    std::shared_ptr<const SampleStore> store_;
    std::vector<std::uint64_t> samples_;
  };

  std::string name_;
  std::shared_ptr<const SampleStore> store_;
  std::vector<std::uint64_t> samples_;
  std::vector<std::string> files_;
  std::size_t next_ = 0;
};

}  // namespace

void MdsSampleOptions::set(const std::string& name, const std::string& value) {
  const std::map<std::string, std::int64_t*> numbers = {{"shuffle_seed", &shuffle_seed},
                                                        {"shuffle_block_size", &shuffle_block_size},
                                                        {"num_canonical_nodes", &num_canonical_nodes},
                                                        {"replication", &replication},
                                                        {"batch_size", &batch_size},
                                                        {"epoch", &epoch},
                                                        {"drop_first", &drop_first},
                                                        {"num_nodes", &num_nodes},
                                                        {"ranks_per_node", &ranks_per_node},
                                                        {"workers_per_rank", &workers_per_rank},
                                                        {"rank", &rank},
                                                        {"worker", &worker}};
  if (name == "shuffle_algo") {
    shuffle_algo = value;
  } else if (name == "shuffle") {
    if (value != "true" && value != "false")
      throw_invalid(fmt::format("shuffle: '{}' is neither true nor false", value));
    shuffle = value == "true";
  } else if (const auto number = numbers.find(name); number != numbers.end()) {
    const char* end = value.data() + value.size();
    const auto [stop, failure] = std::from_chars(value.data(), end, *number->second);
    if (failure != std::errc() || stop != end)
      throw_invalid(fmt::format("{}: '{}' is not a whole number", name, value));
  } else {
    std::vector<std::string> names = {"shuffle", "shuffle_algo"};
    for (const auto& [known, member] : numbers) names.push_back(known);
    throw_invalid(fmt::format("unknown key '{}'", name), suggest(name, names));
  }
}

void MdsSampleOptions::validate() const {
  const auto at_least = [](const char* name, std::int64_t value, std::int64_t least) {
    if (value < least) throw_invalid(fmt::format("{} is {}", name, value), fmt::format("at least {}", least));
  };
  at_least("shuffle_block_size", shuffle_block_size, 0);
  at_least("num_canonical_nodes", num_canonical_nodes, 0);
  at_least("replication", replication, 1);
  at_least("batch_size", batch_size, 1);
  at_least("epoch", epoch, 0);
  at_least("drop_first", drop_first, 0);
  at_least("num_nodes", num_nodes, 1);
  at_least("ranks_per_node", ranks_per_node, 1);
  at_least("workers_per_rank", workers_per_rank, 1);
  if (rank < 0 || rank >= num_nodes * ranks_per_node)
    throw_invalid(fmt::format("rank {} of {} ranks", rank, num_nodes * ranks_per_node), "ranks are counted from 0");
  if (worker < 0 || worker >= workers_per_rank)
    throw_invalid(fmt::format("worker {} of {} workers", worker, workers_per_rank), "workers are counted from 0");
  if (num_nodes * ranks_per_node % replication != 0) {
    throw_invalid(fmt::format("replication is {}, and there are {} ranks", replication, num_nodes * ranks_per_node),
                  "the number of ranks must be a multiple of it");
  }
}

std::vector<std::int64_t> mds_worker_samples(const std::vector<std::int64_t>& shard_sizes,
                                             const MdsSampleOptions& options) {
  options.validate();
  // As streaming's World.replicate(): ranks that read the same count as one, and nodes are dealt anew.
  const std::int64_t num_ranks = options.num_nodes * options.ranks_per_node / options.replication;
  const std::int64_t num_nodes =
      options.replication == 1 ? options.num_nodes
                               : (num_ranks % options.ranks_per_node == 0 ? num_ranks / options.ranks_per_node : 1);
  const std::int64_t ranks_per_node = num_ranks / num_nodes;
  const std::int64_t rank = options.rank / options.replication;

  const bool deals_to_many = options.shuffle_algo == "py1s" || options.shuffle_algo == "py2s";
  const std::int64_t canonical =
      options.num_canonical_nodes > 0 ? options.num_canonical_nodes : num_nodes * (deals_to_many ? 64 : 1);
  std::int64_t num_samples = 0;
  for (const std::int64_t size : shard_sizes) num_samples += size;
  std::vector<std::int64_t> positions = mds_partition(num_samples,
                                                      {.num_canonical_nodes = canonical,
                                                       .num_nodes = num_nodes,
                                                       .ranks_per_node = ranks_per_node,
                                                       .workers_per_rank = options.workers_per_rank,
                                                       .batch_size = options.batch_size,
                                                       .drop_first = options.drop_first},
                                                      rank / ranks_per_node, rank % ranks_per_node, options.worker);
  if (!options.shuffle) return positions;
  const std::int64_t block = options.shuffle_block_size > 0
                                 ? options.shuffle_block_size
                                 : std::max<std::int64_t>(4'000'000 / canonical, std::int64_t{1} << 18);
  const auto order = mds_sample_order(shard_sizes, {.algorithm = options.shuffle_algo,
                                                    .num_canonical_nodes = canonical,
                                                    .seed = static_cast<std::uint64_t>(options.shuffle_seed),
                                                    .epoch = static_cast<std::uint64_t>(options.epoch),
                                                    .block_size = block});
  for (std::int64_t& position : positions) {
    if (position >= 0) position = order[static_cast<std::size_t>(position)];
  }
  return positions;
}

Dataset read_mds_in_order(const std::vector<std::string>& folders, ReadOptions read, MdsSampleOptions options,
                          std::uint64_t cache_bytes) {
  options.validate();
  if (folders.empty()) throw_invalid("mds: no folder");
  return Dataset(std::make_shared<SourceNode>([folders, read, options, cache_bytes](const PlanContext&) {
    std::vector<std::int64_t> sizes;
    for (const std::string& folder : folders) {
      for (const MdsShard& shard : read_mds_index(folder)) sizes.push_back(shard.samples);
    }
    std::vector<std::uint64_t> samples;
    for (const std::int64_t sample : mds_worker_samples(sizes, options)) {
      if (sample >= 0) samples.push_back(static_cast<std::uint64_t>(sample));
    }
    const Dataset shards = Dataset::read(folders, "mds", read);
    PlanContext context;
    std::vector<std::unique_ptr<Source>> opened;
    shards.plan()->open_sources(context, opened);
    std::string name = fmt::format("mds({} shards, {}epoch {})", sizes.size(),
                                   options.shuffle ? options.shuffle_algo + ", " : "", options.epoch);
    return std::make_unique<NumberedSamples>(
        std::move(name), std::make_shared<const SampleStore>(shards, SampleStoreOptions{.cache_bytes = cache_bytes}),
        std::move(samples), opened.front()->files());
  }));
}

}  // namespace mobula::data
