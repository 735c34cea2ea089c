#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "mobula/base/error.hpp"
#include "mobula/text/tokenizer.hpp"
#include "mobula/text/tokenizer_impl.hpp"

namespace mobula::text {

StreamEncoder::StreamEncoder(std::shared_ptr<const Tokenizer> tokenizer, bool add_special_tokens,
                             std::size_t part_bytes)
    : tokenizer_(std::move(tokenizer)), add_special_tokens_(add_special_tokens), part_bytes_(part_bytes) {
  const Tokenizer::Impl& impl = *tokenizer_->impl_;
  const bool cut_elsewhere =
      impl.truncation && (impl.truncation->from_left || impl.truncation->strategy == Truncation::Strategy::only_second);
  needs_end_ = !impl.surrounds || cut_elsewhere || (impl.padding && impl.padding->on_left);
}

void StreamEncoder::begin(std::vector<TokenId>& ids) {
  if (begun_ || needs_end_) return;
  const Tokenizer::Impl& impl = *tokenizer_->impl_;
  most_ = impl.limit(false, add_special_tokens_).value_or(std::numeric_limits<std::size_t>::max());
  if (add_special_tokens_) ids.insert(ids.end(), impl.prefix.begin(), impl.prefix.end());
  begun_ = true;
}

void StreamEncoder::give(std::string_view part, bool last, std::vector<TokenId>& ids) {
  const Tokenizer::Impl& impl = *tokenizer_->impl_;
  const std::size_t before = ids.size();
  impl.encode_part(part, continues_, ids);
  continues_ = !last;
  count_ += ids.size() - before;
  if (count_ <= most_) return;
  impl.truncation->check_stride(most_);
  ids.resize(ids.size() - (count_ - most_));
  count_ = most_;
  full_ = true;
}

void StreamEncoder::push(std::string_view text, std::vector<TokenId>& ids) {
  begin(ids);
  if (full_) return;
  waiting_ += text;
  if (needs_end_) return;
  const Tokenizer::Impl& impl = *tokenizer_->impl_;
  const std::string_view all = waiting_;
  std::size_t done = 0;
  while (all.size() - done > 2 * part_bytes_ && !full_) {
    const std::size_t cut = impl.find_cut(all.substr(done), std::max(part_bytes_, looked_));
    if (cut == std::string_view::npos) {
      const std::size_t unsure = impl.added.longest() + 4;  // so near the end a place can't be judged yet
      looked_ = all.size() - done - std::min(all.size() - done, unsure);
      break;
    }
    give(all.substr(done, cut), false, ids);
    done += cut;
    looked_ = 0;
  }
  full_ ? waiting_.clear() : waiting_.erase(0, done).shrink_to_fit();
}

void StreamEncoder::finish(std::vector<TokenId>& ids) {
  begin(ids);
  if (needs_end_) {
    const std::vector<TokenId> all = tokenizer_->encode(waiting_, add_special_tokens_);
    ids.insert(ids.end(), all.begin(), all.end());
  } else {
    const Tokenizer::Impl& impl = *tokenizer_->impl_;
    if (!full_) give(waiting_, true, ids);
    std::size_t length = count_;
    if (add_special_tokens_) {
      length += impl.prefix.size() + impl.suffix.size();
      ids.insert(ids.end(), impl.suffix.begin(), impl.suffix.end());
    }
    if (impl.padding) ids.insert(ids.end(), impl.padding->target(length) - length, impl.padding->id);
  }
  waiting_.clear();
  looked_ = count_ = 0;
  begun_ = continues_ = full_ = false;
}

}  // namespace mobula::text
