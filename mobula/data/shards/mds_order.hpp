/// The order in which mosaicml-streaming gives the samples of MDS shards, sample for sample: who trained there goes on here.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace mobula::data {

struct MdsOrderOptions {
  std::string algorithm = "py1e";                   ///< py1e, py1br, py1s, py2s, naive
  std::int64_t num_canonical_nodes = 64;            ///< among which shards are dealt out, whatever machines there are
  std::uint64_t seed = 9176;                        ///< of the whole training
  std::uint64_t epoch = 0;                          ///< counted from 0
  std::int64_t block_size = std::int64_t{1} << 18;  ///< py1e, py1br: how far samples are mixed
};

/// Returns the sample that stands at each position of an epoch, as streaming.base.shuffle.get_shuffle does (streaming 0.13).
/// Throws Error(invalid_argument) for an unknown algorithm, sizes below 0, and (py1e) a canonical node without samples.
std::vector<std::int64_t> mds_sample_order(std::span<const std::int64_t> shard_sizes, const MdsOrderOptions& options);

/// Who reads which positions.
struct MdsPartitionOptions {
  std::int64_t num_canonical_nodes = 64;
  std::int64_t num_nodes = 1;
  std::int64_t ranks_per_node = 1;
  std::int64_t workers_per_rank = 1;
  std::int64_t batch_size = 1;
  std::int64_t drop_first = 0;  ///< samples that were seen already
};

/// Returns the positions of an epoch that one worker reads, batch by batch, -1 where there is none left, as
/// streaming.base.partition.orig does. Throws Error(invalid_argument) where neither number of nodes divides the other, or there
/// are fewer samples than canonical nodes.
std::vector<std::int64_t> mds_partition(std::int64_t num_samples, const MdsPartitionOptions& options, std::int64_t node,
                                        std::int64_t rank, std::int64_t worker);

}  // namespace mobula::data
