#include "mobula/text/aligned_text.hpp"

#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {

Rewrite::Rewrite(AlignedText& target, std::size_t skipped) : target_(target) {
  text_.reserve(target.text.size() + target.text.size() / 8);
  if (target.tracked) origin_.reserve(target.text.size());
  skip(skipped);
}

void Rewrite::skip(std::size_t characters) {
  for (; characters > 0 && old_ < target_.text.size(); --characters) old_ += utf8_length(target_.text[old_]);
}

void Rewrite::align(std::size_t bytes, Span span) {
  origin_.insert(origin_.end(), bytes, span);
}

void Rewrite::put(char32_t code_point, int change) {
  const std::size_t before = text_.size();
  append_utf8(text_, code_point);
  if (change > 0) {
    if (target_.tracked) align(text_.size() - before, old_ == 0 ? Span{} : target_.origin[old_ - 1]);
    return;
  }
  if (target_.tracked) {
    align(text_.size() - before, old_ < target_.origin.size() ? target_.origin[old_] : Span{});
  }
  skip(1 + static_cast<std::size_t>(-change));
}

void Rewrite::insert(std::string_view bytes) {
  text_ += bytes;
  if (target_.tracked) align(bytes.size(), old_ == 0 ? Span{} : target_.origin[old_ - 1]);
}

void Rewrite::keep(std::size_t bytes) {
  text_.append(target_.text, old_, bytes);
  if (target_.tracked) {
    const auto begin = target_.origin.begin() + static_cast<std::ptrdiff_t>(old_);
    origin_.insert(origin_.end(), begin, begin + static_cast<std::ptrdiff_t>(bytes));
  }
  old_ += bytes;
}

void Rewrite::commit() {
  target_.text = std::move(text_);
  target_.origin = std::move(origin_);
}

}  // namespace mobula::text
