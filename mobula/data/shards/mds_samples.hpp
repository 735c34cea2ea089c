/// The samples of MDS shards in the order in which a worker of mosaicml-streaming reads them.
///
///     auto rows = read_mds_in_order({"shards/"}, {}, {.shuffle_seed = 7, .num_canonical_nodes = 8, .epoch = 2});
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mobula/data/dataset.hpp"

namespace mobula::data {

/// What StreamingDataset calls so, with its defaults (save that samples are shuffled); and who reads.
struct MdsSampleOptions {
  bool shuffle = true;
  std::string shuffle_algo = "py1e";     ///< py1e, py1br, py1s, py2s, naive
  std::int64_t shuffle_seed = 9176;      ///< of the whole training
  std::int64_t shuffle_block_size = 0;   ///< 0: max(4,000,000 / num_canonical_nodes, 1 << 18)
  std::int64_t num_canonical_nodes = 0;  ///< 0: the number of nodes, 64 times that for py1s and py2s
  std::int64_t replication = 1;          ///< how many ranks in a row get the same samples
  std::int64_t batch_size = 1;           ///< of a rank
  std::int64_t epoch = 0;                ///< counted from 0
  std::int64_t drop_first = 0;           ///< samples of the epoch that were seen already, by all ranks together
  std::int64_t num_nodes = 1;
  std::int64_t ranks_per_node = 1;
  std::int64_t workers_per_rank = 1;  ///< of torch's DataLoader
  std::int64_t rank = 0;              ///< among all nodes' ranks
  std::int64_t worker = 0;            ///< of the rank

  /// Sets a member by its name. Throws Error(invalid_argument) for an unknown name (with the nearest) or a value that is none.
  void set(const std::string& name, const std::string& value);
  /// Throws Error(invalid_argument) naming what is out of range.
  void validate() const;
};

/// Returns the samples that one worker reads in an epoch, in its order, as numbers over all shards; -1 where streaming fills
/// up a batch. The worker's batches of `batch_size` samples are those of streaming.
std::vector<std::int64_t> mds_worker_samples(const std::vector<std::int64_t>& shard_sizes,
                                             const MdsSampleOptions& options);

/// Reads them; what streaming fills up with is left out. Shards that are mixed are kept in memory, up to `cache_bytes`.
Dataset read_mds_in_order(const std::vector<std::string>& folders, ReadOptions read, MdsSampleOptions options,
                          std::uint64_t cache_bytes = std::uint64_t{256} << 20);

}  // namespace mobula::data
