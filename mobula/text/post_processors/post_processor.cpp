#include "mobula/text/post_processors/post_processor.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "mobula/base/error.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

// Moves a place of a text by so many characters, not beyond `stop`.
std::size_t move_right(std::string_view text, std::size_t at, std::size_t characters, std::size_t stop) {
  for (; characters > 0 && at < stop; --characters) {
    do ++at;
    while (at < stop && is_utf8_continuation(text[at]));
  }
  return at;
}

std::size_t move_left(std::string_view text, std::size_t at, std::size_t characters, std::size_t stop) {
  for (; characters > 0 && at > stop; --characters) {
    do --at;
    while (at > stop && is_utf8_continuation(text[at]));
  }
  return at;
}

void trim(Sequence& sequence, bool add_prefix_space) {
  for (std::size_t i = 0; i < sequence.size(); ++i) {
    auto& [begin, end] = sequence.encoding.offsets[i];
    auto [leading, trailing] = sequence.spaces[i];
    // One space before the first token is the one that was put there.
    if ((i == 0 || begin == 0) && add_prefix_space && leading == 1) leading = 0;
    begin = move_right(sequence.text, begin, leading, end);
    end = move_left(sequence.text, end, trailing, begin);
  }
}

void set_type(Sequence& sequence, std::uint32_t type) {
  std::fill(sequence.encoding.type_ids.begin(), sequence.encoding.type_ids.end(), type);
}

}  // namespace

void Sequence::add_special(TokenId id, std::uint32_t type) {
  encoding.ids.push_back(id);
  encoding.type_ids.push_back(type);
  encoding.offsets.emplace_back(0, 0);
  encoding.special_mask.push_back(1);
  encoding.attention_mask.push_back(1);
  spaces.emplace_back(0, 0);
}

void Sequence::append(const Sequence& other) {
  const auto join = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
  join(encoding.ids, other.encoding.ids);
  join(encoding.type_ids, other.encoding.type_ids);
  join(encoding.offsets, other.encoding.offsets);
  join(encoding.special_mask, other.encoding.special_mask);
  join(encoding.attention_mask, other.encoding.attention_mask);
  join(spaces, other.spaces);
}

void Sequence::keep(std::size_t begin, std::size_t end) {
  const auto cut = [&](auto& values) {
    values.erase(values.begin() + static_cast<std::ptrdiff_t>(end), values.end());
    values.erase(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(begin));
  };
  cut(encoding.ids);
  cut(encoding.type_ids);
  cut(encoding.offsets);
  cut(encoding.special_mask);
  cut(encoding.attention_mask);
  cut(spaces);
}

void ByteLevelPostProcessor::apply(std::vector<Sequence>& sequences, bool) const {
  if (!trim_offsets_) return;
  for (Sequence& sequence : sequences) trim(sequence, add_prefix_space_);
}

void ClsSepPostProcessor::apply(std::vector<Sequence>& sequences, bool add_special_tokens) const {
  for (Sequence& sequence : sequences) {
    if (options_.trim_offsets) trim(sequence, options_.add_prefix_space);
    if (options_.roberta) set_type(sequence, 0);
  }
  if (!add_special_tokens) return;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const std::uint32_t type = i == 0 || options_.roberta ? 0 : 1;
    Sequence whole;
    if (i == 0) whole.add_special(options_.cls, 0);
    if (i > 0 && options_.roberta) whole.add_special(options_.sep, 0);
    whole.append(sequences[i]);
    whole.add_special(options_.sep, type);
    sequences[i] = std::move(whole);
  }
}

void TemplatePostProcessor::apply(std::vector<Sequence>& sequences, bool add_special_tokens) const {
  std::vector<Sequence> out;
  for (const Part& part : sequences.size() == 2 ? pair_ : single_) {
    Sequence made;
    if (part.sequence >= 0) {
      made = sequences[static_cast<std::size_t>(part.sequence)];
      set_type(made, part.type);
    } else if (add_special_tokens) {
      for (const TokenId id : part.ids) made.add_special(id, part.type);
    } else {
      continue;
    }
    out.push_back(std::move(made));
  }
  sequences = std::move(out);
}

std::size_t TemplatePostProcessor::num_added(bool pair) const {
  std::size_t count = 0;
  for (const Part& part : pair ? pair_ : single_) count += part.ids.size();
  return count;
}

void SequencePostProcessor::apply(std::vector<Sequence>& sequences, bool add_special_tokens) const {
  for (const auto& step : steps_) step->apply(sequences, add_special_tokens);
}

std::size_t SequencePostProcessor::num_added(bool pair) const {
  std::size_t count = 0;
  for (const auto& step : steps_) count += step->num_added(pair);
  return count;
}

void Truncation::check_stride(std::size_t length) const {
  if (length > 0 && stride >= length) {
    throw_invalid(fmt::format("truncation.stride {} must be below the {} tokens that are kept", stride, length));
  }
}

void Truncation::cut(Sequence& sequence, std::size_t length) const {
  const std::size_t size = sequence.size();
  if (length >= size) return;
  check_stride(length);
  from_left ? sequence.keep(size - length, size) : sequence.keep(0, length);
}

void Truncation::apply(std::vector<Sequence>& sequences, std::size_t limit) const {
  if (limit == 0) {
    for (Sequence& sequence : sequences) cut(sequence, 0);
    return;
  }
  std::size_t total = 0;
  for (const Sequence& sequence : sequences) total += sequence.size();
  if (total <= limit) return;
  if (strategy == Strategy::longest_first) {
    if (sequences.size() == 1) return cut(sequences[0], limit);
    std::size_t shorter = sequences[0].size();
    std::size_t longer = sequences[1].size();
    const bool swapped = shorter > longer;
    if (swapped) std::swap(shorter, longer);
    longer = shorter > limit ? shorter : std::max(shorter, limit - shorter);
    if (shorter + longer > limit) {
      shorter = limit / 2;
      longer = shorter + limit % 2;
    }
    cut(sequences[0], swapped ? longer : shorter);
    cut(sequences[1], swapped ? shorter : longer);
    return;
  }
  const std::size_t index = strategy == Strategy::only_first ? 0 : 1;
  if (index >= sequences.size()) throw_invalid("truncation.strategy is OnlySecond, but there is no second text");
  const std::size_t surplus = total - limit;
  if (sequences[index].size() <= surplus) {
    throw_invalid(fmt::format("the text that truncation may cut has {} tokens, but {} must go", sequences[index].size(),
                              surplus));
  }
  cut(sequences[index], sequences[index].size() - surplus);
}

std::size_t Padding::target(std::size_t length) const {
  std::size_t wanted = fixed > 0 ? fixed : length;
  if (multiple > 0 && wanted % multiple > 0) wanted += multiple - wanted % multiple;
  return std::max(wanted, length);
}

void Padding::apply(Encoding& encoding) const {
  const std::size_t size = encoding.ids.size();
  const std::size_t count = target(size) - size;
  const auto fill = [&](auto& values, auto value) {
    values.insert(on_left ? values.begin() : values.end(), count, value);
  };
  fill(encoding.ids, id);
  fill(encoding.type_ids, type);
  fill(encoding.offsets, std::pair<std::size_t, std::size_t>{0, 0});
  fill(encoding.special_mask, std::uint8_t{1});
  fill(encoding.attention_mask, std::uint8_t{0});
}

}  // namespace mobula::text
