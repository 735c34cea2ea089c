#include "mobula/data/shards/sequence_packer.hpp"

#include <algorithm>
#include <utility>

#include "mobula/base/error.hpp"

namespace mobula::data {

SequencePacker::SequencePacker(PackOptions options) : options_(options) {
  if (options_.length == 0) throw_invalid("sequence packing: a length of 0 tokens");
  begin();
}

void SequencePacker::begin() {
  sequence_ = {};
  sequence_.tokens.reserve(options_.length);
  sequence_.documents.reserve(options_.length);
  sequence_.positions.reserve(options_.length);
  num_documents_ = 0;
  closed_ = false;
}

std::size_t SequencePacker::add(std::span<const std::int64_t> document) {
  const std::size_t left = options_.length - sequence_.tokens.size();
  if (document.empty() || closed_) return 0;
  if (!options_.split_documents && document.size() > left && !empty()) {
    closed_ = true;
    return 0;
  }
  const std::size_t taken = std::min(left, document.size());
  for (std::size_t i = 0; i < taken; ++i) {
    sequence_.tokens.push_back(document[i]);
    sequence_.documents.push_back(num_documents_);
    sequence_.positions.push_back(static_cast<std::int32_t>(i));
  }
  num_documents_ += taken > 0;
  return taken;
}

PackedSequence SequencePacker::finish() {
  sequence_.tokens.resize(options_.length, options_.padding);
  sequence_.documents.resize(options_.length, -1);
  sequence_.positions.resize(options_.length, 0);
  PackedSequence sequence = std::move(sequence_);
  begin();
  return sequence;
}

}  // namespace mobula::data
