#include "mobula/data/content/minhash.hpp"

#include <algorithm>
#include <deque>
#include <limits>
#include <string>

#include "mobula/base/error.hpp"

namespace mobula::data {
namespace {

constexpr std::size_t kRun = 5;

/// Mixes all bits of a number (the finalizer of SplitMix64; Steele, Lea, Flood, 2014).
constexpr std::uint64_t mix(std::uint64_t value) {
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
  value = (value ^ value >> 27) * 0x94d049bb133111eb;
  return value ^ value >> 31;
}

std::uint64_t hash_word(std::string_view word) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : word) {
    const auto byte = static_cast<unsigned char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    hash = (hash ^ byte) * 0x100000001b3;
  }
  return hash;
}

}  // namespace

MinHashSignature minhash(std::string_view text) {
  MinHashSignature signature;
  signature.fill(std::numeric_limits<std::uint32_t>::max());
  std::deque<std::uint64_t> run;
  const auto add_run = [&] {
    std::uint64_t hash = run.size();
    for (const std::uint64_t word : run) hash = mix(hash * 31 + word);
    for (std::size_t i = 0; i < kMinHashes; ++i) {
      const auto value = static_cast<std::uint32_t>(mix(hash + (i + 1) * 0x9E3779B97F4A7C15) >> 32);
      signature[i] = std::min(signature[i], value);
    }
  };
  bool any = false;
  while (true) {
    const std::size_t begin = text.find_first_not_of(" \t\r\n");
    if (begin == std::string_view::npos) break;
    text.remove_prefix(begin);
    const std::size_t end = std::min(text.find_first_of(" \t\r\n"), text.size());
    run.push_back(hash_word(text.substr(0, end)));
    text.remove_prefix(end);
    if (run.size() < kRun) continue;
    add_run();
    any = true;
    run.pop_front();
  }
  if (!any) add_run();
  return signature;
}

double similarity(const MinHashSignature& a, const MinHashSignature& b) {
  std::size_t equal = 0;
  for (std::size_t i = 0; i < kMinHashes; ++i) equal += a[i] == b[i];
  return static_cast<double>(equal) / static_cast<double>(kMinHashes);
}

MinHashIndex::MinHashIndex(double threshold) : threshold_(threshold) {
  if (!(threshold > 0 && threshold <= 1)) throw_invalid("near duplicates: a similarity between 0 and 1 is expected");
  // Bands of r rows find pairs of similarity s with probability 1 - (1 - s^r)^(128 / r): nearly all at these.
  rows_ = threshold >= 0.8 ? 8 : threshold >= 0.5 ? 4 : 2;
  bands_.resize(kMinHashes / rows_);
}

bool MinHashIndex::add(const MinHashSignature& signature) {
  std::vector<std::uint64_t> keys(bands_.size());
  for (std::size_t band = 0; band < bands_.size(); ++band) {
    std::uint64_t key = band;
    for (std::size_t row = 0; row < rows_; ++row) key = mix(key * 31 + signature[band * rows_ + row]);
    keys[band] = key;
    const auto range = bands_[band].equal_range(key);
    for (auto candidate = range.first; candidate != range.second; ++candidate) {
      if (similarity(signatures_[candidate->second], signature) >= threshold_) return false;
    }
  }
  for (std::size_t band = 0; band < bands_.size(); ++band)
    bands_[band].emplace(keys[band], static_cast<std::uint32_t>(signatures_.size()));
  signatures_.push_back(signature);
  return true;
}

}  // namespace mobula::data
