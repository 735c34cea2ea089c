#include "mobula/data/tokens/token_windows.hpp"

#include <fmt/format.h>

#include <bit>

#include "mobula/base/error.hpp"
#include "mobula/base/random.hpp"

namespace mobula::data {

std::uint64_t permute(std::uint64_t index, std::uint64_t size, std::uint64_t key, std::uint64_t stream) {
  constexpr std::uint32_t kRounds = 6;
  // Both halves have the same width, so the network's domain is the next power of four.
  const int half = std::max(1, (static_cast<int>(std::bit_width(size - 1)) + 1) / 2);
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  do {
    std::uint64_t left = index >> half;
    std::uint64_t right = index & mask;
    for (std::uint32_t round = 0; round < kRounds; ++round) {
      const auto words = philox({static_cast<std::uint32_t>(right), round, static_cast<std::uint32_t>(stream),
                                 static_cast<std::uint32_t>(stream >> 32)},
                                {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)});
      const std::uint64_t mixed = (left ^ words[0]) & mask;
      left = right;
      right = mixed;
    }
    index = left << half | right;
  } while (index >= size);
  return index;
}

TokenWindows::TokenWindows(TokenFile file, std::size_t begin, std::size_t end, std::size_t context,
                           std::string_view what)
    : file_(std::move(file)), begin_(begin), end_(end), context_(context) {
  if (end > file_.size() || begin > end || context == 0) throw_internal("token windows outside their file");
  if (num_tokens() < context + 1) {
    throw_invalid(fmt::format("the {} has {} tokens, too few for one window of {}", what, num_tokens(), context + 1),
                  "use a longer text or a smaller train.context");
  }
  // Any shift of [0, context) leaves room for this many windows and the last one's final target.
  samples_per_epoch_ = std::max<std::uint64_t>(1, num_tokens() / context - 1);
}

std::uint64_t TokenWindows::sample_begin(std::uint64_t seed, std::uint64_t index) const {
  const std::uint64_t epoch = index / samples_per_epoch_;
  const std::uint64_t room = num_tokens() - samples_per_epoch_ * context_ - 1;
  const std::uint64_t shift = Random(seed, epoch).below(std::min<std::uint64_t>(room + 1, context_));
  return shift + permute(index % samples_per_epoch_, samples_per_epoch_, seed, epoch) * context_;
}

void TokenWindows::copy_sample(std::uint64_t seed, std::uint64_t index, std::span<std::int64_t> ids,
                               std::span<std::int64_t> targets) const {
  const std::uint64_t at = begin_ + sample_begin(seed, index);
  file_.copy(at, ids.first(context_));
  file_.copy(at + 1, targets.first(context_));
}

std::uint64_t TokenWindows::num_ordered() const noexcept {
  return (num_tokens() - 1 + context_ - 1) / context_;
}

std::size_t TokenWindows::ordered_length(std::uint64_t index) const {
  return std::min<std::size_t>(context_, num_tokens() - 1 - index * context_);
}

void TokenWindows::copy_ordered(std::uint64_t index, std::span<std::int64_t> ids,
                                std::span<std::int64_t> targets) const {
  const std::size_t at = begin_ + index * context_;
  const std::size_t length = ordered_length(index);
  file_.copy(at, ids.first(length));
  file_.copy(at + 1, targets.first(length));
}

}  // namespace mobula::data
