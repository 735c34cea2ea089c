#include "mobula/nn/decoder/kv_cache.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "mobula/nn/kernels/buffer_pool.hpp"

namespace mobula::nn {
namespace {

constexpr std::uint64_t kRoot = 0x9E3779B97F4A7C15ULL;

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 31;
  x *= 0x7FB5D329728EA185ULL;
  x ^= x >> 27;
  x *= 0x81DADEF4BC2DD44DULL;
  return x ^ (x >> 33);
}

std::uint64_t chain(std::uint64_t parent, std::span<const TokenId> tokens) {
  std::uint64_t key = parent;
  for (const TokenId token : tokens) key = mix(key ^ static_cast<std::uint32_t>(token)) + kRoot;
  return key;
}

// Rounds to the nearest, ties to even.
std::uint16_t to_half(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const bool is_number = x == x;
  return static_cast<std::uint16_t>((is_number ? bits + 0x7FFF + (bits >> 16 & 1) : bits | 0x400000) >> 16);
}

void store(const KvLayout& layout, std::int64_t slot, const float* key, const float* value, float* head) {
  const std::int64_t padded = layout.padded_head_dim();
  for (std::int64_t d = 0; d < layout.head_dim; ++d) head[d * kKvBlock + slot] = key[d];
  std::copy_n(value, layout.head_dim, head + padded * kKvBlock + slot * padded);
}

void store(const KvLayout& layout, std::int64_t slot, const float* key, const float* value, std::uint16_t* head) {
  const std::int64_t padded = layout.padded_head_dim();
  std::uint16_t* keys = head + 2 * slot;
  for (std::int64_t d = 0; d < layout.head_dim; ++d) keys[d / 2 * 2 * kKvBlock + d % 2] = to_half(key[d]);
  std::uint16_t* values = head + padded * kKvBlock + slot / 2 * 2 * padded + slot % 2;
  for (std::int64_t d = 0; d < layout.head_dim; ++d) values[2 * d] = to_half(value[d]);
}

}  // namespace

void KvSequence::reserve(const KvLayout& layout, std::int64_t num_positions) {
  while (static_cast<std::int64_t>(blocks_.size()) * kKvBlock < num_positions) {
    // Fresh pages would cost more than what is written to them.
    const std::shared_ptr<std::byte> taken = kernels::take_buffer(layout.block_bytes());
    blocks_.push_back(KvBlock(taken, taken.get()));
    addresses_.push_back(blocks_.back().get());
  }
}

void KvSequence::share(std::vector<KvBlock> blocks) {
  blocks_ = std::move(blocks);
  addresses_.clear();
  for (const KvBlock& block : blocks_) addresses_.push_back(block.get());
}

void KvSequence::write(const KvLayout& layout, std::int64_t position, std::int64_t layer, std::int64_t head,
                       const float* key, const float* value) {
  std::byte* block = blocks_[static_cast<std::size_t>(position / kKvBlock)].get();
  block += static_cast<std::size_t>(layout.offset(layer, head)) * layout.number_bytes();
  const std::int64_t slot = position % kKvBlock;
  if (slot == 0) std::memset(block, 0, static_cast<std::size_t>(layout.head_numbers()) * layout.number_bytes());
  if (layout.type == KvType::bf16) {
    store(layout, slot, key, value, reinterpret_cast<std::uint16_t*>(block));
  } else {
    store(layout, slot, key, value, reinterpret_cast<float*>(block));
  }
}

PrefixCache::Place PrefixCache::look_up(std::uint64_t parent, std::span<const TokenId> tokens, std::uint64_t& key) {
  key = chain(parent, tokens);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return entries_.end();
  const Place place = found->second;
  const bool same = place->parent == parent && std::ranges::equal(place->tokens, tokens);
  return same ? place : entries_.end();
}

std::vector<KvBlock> PrefixCache::find(std::uint64_t kind, std::span<const TokenId> tokens) {
  std::vector<KvBlock> blocks;
  std::uint64_t parent = kRoot ^ mix(kind);
  for (; tokens.size() >= kKvBlock; tokens = tokens.subspan(kKvBlock)) {
    std::uint64_t key = 0;
    const Place place = look_up(parent, tokens.first(kKvBlock), key);
    if (place == entries_.end()) break;
    entries_.splice(entries_.begin(), entries_, place);
    blocks.push_back(place->block);
    parent = key;
  }
  return blocks;
}

void PrefixCache::insert(std::uint64_t kind, std::span<const TokenId> tokens, const std::vector<KvBlock>& blocks) {
  std::uint64_t parent = kRoot ^ mix(kind);
  for (std::size_t i = 0; tokens.size() >= kKvBlock && i < blocks.size(); ++i, tokens = tokens.subspan(kKvBlock)) {
    std::uint64_t key = 0;
    const auto block_tokens = tokens.first(kKvBlock);
    const Place place = look_up(parent, block_tokens, key);
    if (place != entries_.end()) {
      entries_.splice(entries_.begin(), entries_, place);
    } else if (by_key_.contains(key)) {
      return;  // two different blocks under one key: the older one stays
    } else {
      entries_.push_front({key, parent, {block_tokens.begin(), block_tokens.end()}, blocks[i]});
      by_key_[key] = entries_.begin();
    }
    parent = key;
  }
}

void PrefixCache::trim(std::size_t max_blocks) {
  while (entries_.size() > max_blocks) {
    by_key_.erase(entries_.back().key);
    entries_.pop_back();
  }
}

}  // namespace mobula::nn
