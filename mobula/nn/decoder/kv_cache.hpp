/// The key-value cache: blocks of kKvBlock positions, shared between sequences that begin alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "mobula/nn/decoder/cpu_kernels.hpp"
#include "mobula/nn/generate/engine.hpp"

namespace mobula::nn {

/// Where keys and values of a layer and head lie in a block.
struct KvLayout {
  std::int64_t num_layers = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  KvType type = KvType::fp32;

  std::int64_t padded_head_dim() const noexcept { return (head_dim + 15) / 16 * 16; }
  /// Numbers of one head, keys and then values, as AttentionTask says.
  std::int64_t head_numbers() const noexcept { return 2 * padded_head_dim() * kKvBlock; }
  std::int64_t offset(std::int64_t layer, std::int64_t head) const noexcept {
    return (layer * num_kv_heads + head) * head_numbers();
  }
  std::int64_t block_numbers() const noexcept { return num_layers * num_kv_heads * head_numbers(); }
  std::size_t number_bytes() const noexcept { return type == KvType::bf16 ? 2 : 4; }
  std::size_t block_bytes() const noexcept { return static_cast<std::size_t>(block_numbers()) * number_bytes(); }
};

using KvBlock = std::shared_ptr<std::byte[]>;

/// One sequence's cache. Not thread-safe.
class KvSequence {
 public:
  /// Makes room for `num_positions` in all.
  void reserve(const KvLayout& layout, std::int64_t num_positions);
  /// Begins with blocks that another sequence filled.
  void share(std::vector<KvBlock> blocks);
  /// Stores the key and value (head_dim floats each, rounded where the layout says so) of one position, layer and head; the
  /// position must be reserved and in no shared block.
  void write(const KvLayout& layout, std::int64_t position, std::int64_t layer, std::int64_t head, const float* key,
             const float* value);

  const void* const* blocks() const noexcept { return addresses_.data(); }
  const std::vector<KvBlock>& block_list() const noexcept { return blocks_; }

 private:
  std::vector<KvBlock> blocks_;
  std::vector<const void*> addresses_;
};

/// Remembers full blocks by the tokens they and all before them stand for. Not thread-safe.
class PrefixCache {
 public:
  /// Returns the longest known run of blocks for the beginning of `tokens`. `kind` tells apart sequences that give the same
  /// tokens other keys.
  std::vector<KvBlock> find(std::uint64_t kind, std::span<const TokenId> tokens);
  /// Remembers the full blocks of a sequence whose first tokens are `tokens`.
  void insert(std::uint64_t kind, std::span<const TokenId> tokens, const std::vector<KvBlock>& blocks);
  /// Forgets the blocks that were used longest ago until at most `max_blocks` are left.
  void trim(std::size_t max_blocks);
  std::size_t num_blocks() const noexcept { return entries_.size(); }

 private:
  struct Entry {
    std::uint64_t key;
    std::uint64_t parent;         ///< key of the block before
    std::vector<TokenId> tokens;  ///< of this block alone: compared, because keys may collide
    KvBlock block;
  };
  using Place = std::list<Entry>::iterator;
  Place look_up(std::uint64_t parent, std::span<const TokenId> tokens, std::uint64_t& key);

  std::list<Entry> entries_;  // latest used first
  std::unordered_map<std::uint64_t, Place> by_key_;
};

}  // namespace mobula::nn
