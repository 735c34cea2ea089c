#include "mobula/text/vocabulary.hpp"

#include <bit>
#include <cstring>

namespace mobula::text {
namespace {

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t load(const char* bytes, std::size_t count) {
  std::uint64_t value = 0;
  std::memcpy(&value, bytes, count);
  return value;
}

}  // namespace

std::uint64_t hash_bytes(std::string_view bytes) {
  std::uint64_t hash = 0x9E3779B97F4A7C15U ^ bytes.size();
  const char* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) hash = mix(hash ^ load(at, 8), 0xD6E8FEB86659FD93U);
  if (left > 0) hash = mix(hash ^ load(at, left), 0xA0761D6478BD642FU);
  return mix(hash, 0xE7037ED1A0B428DBU);
}

void Vocabulary::reserve(std::size_t count, std::size_t bytes) {
  bytes_.reserve(bytes);
  entries_.reserve(count);
  by_id_.reserve(count);
  grow(std::bit_ceil(count * 2 + 16));
}

void Vocabulary::grow(std::size_t slots) {
  slots_.assign(slots, 0);
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    std::size_t slot = entries_[i].hash & (slots - 1);
    while (slots_[slot] != 0) slot = (slot + 1) & (slots - 1);
    slots_[slot] = static_cast<std::uint32_t>(i + 1);
  }
}

void Vocabulary::add(std::string_view token, TokenId id) {
  if ((entries_.size() + 1) * 2 > slots_.size()) grow(std::bit_ceil((entries_.size() + 1) * 4));
  const std::uint64_t hash = hash_bytes(token);
  std::size_t slot = hash & (slots_.size() - 1);
  std::uint32_t index = 0;
  for (; slots_[slot] != 0; slot = (slot + 1) & (slots_.size() - 1)) {
    const Entry& entry = entries_[slots_[slot] - 1];
    if (entry.hash == hash && text(entry) == token) {
      index = slots_[slot];
      break;
    }
  }
  if (index == 0) {
    entries_.push_back({hash, static_cast<std::uint32_t>(bytes_.size()), static_cast<std::uint32_t>(token.size()), id});
    bytes_ += token;
    index = static_cast<std::uint32_t>(entries_.size());
    slots_[slot] = index;
  }
  entries_[index - 1].id = id;
  if (by_id_.size() <= static_cast<std::size_t>(id)) by_id_.resize(static_cast<std::size_t>(id) + 1, 0);
  by_id_[static_cast<std::size_t>(id)] = index;
}

TokenId Vocabulary::find(std::string_view token) const {
  if (slots_.empty()) return -1;
  const std::uint64_t hash = hash_bytes(token);
  for (std::size_t slot = hash & (slots_.size() - 1); slots_[slot] != 0; slot = (slot + 1) & (slots_.size() - 1)) {
    const Entry& entry = entries_[slots_[slot] - 1];
    if (entry.hash == hash && text(entry) == token) return entry.id;
  }
  return -1;
}

std::optional<std::string_view> Vocabulary::token(TokenId id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= by_id_.size()) return std::nullopt;
  const std::uint32_t index = by_id_[static_cast<std::size_t>(id)];
  if (index == 0) return std::nullopt;
  return text(entries_[index - 1]);
}

}  // namespace mobula::text
