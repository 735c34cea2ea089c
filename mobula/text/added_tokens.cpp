#include "mobula/text/added_tokens.hpp"

#include <algorithm>
#include <cstring>

#include "mobula/text/unicode/properties.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {

void StringFinder::add(std::string_view text, std::uint32_t value) {
  if (nodes_.empty()) nodes_.emplace_back();
  const auto first = static_cast<unsigned char>(text.front());
  if (!first_[first]) {
    first_[first] = true;
    only_first_ = text.front();
    ++num_first_;
  }
  std::uint32_t node = 0;
  for (const char byte : text) {
    const auto found = nodes_[node].next.find(byte);
    if (found != nodes_[node].next.end()) {
      node = found->second;
      continue;
    }
    const auto made = static_cast<std::uint32_t>(nodes_.size());
    nodes_[node].next.emplace(byte, made);
    nodes_.emplace_back();
    node = made;
  }
  nodes_[node].value = value;
}

bool StringFinder::find(std::string_view text, std::size_t from, Match& match) const {
  if (nodes_.empty()) return false;
  for (std::size_t at = from; at < text.size(); ++at) {
    if (num_first_ == 1) {
      const void* found = std::memchr(text.data() + at, only_first_, text.size() - at);
      if (found == nullptr) return false;
      at = static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
    } else {
      while (at < text.size() && !first_[static_cast<unsigned char>(text[at])]) ++at;
      if (at == text.size()) return false;
    }
    std::uint32_t node = 0;
    bool any = false;
    for (std::size_t i = at; i < text.size(); ++i) {
      const auto next = nodes_[node].next.find(text[i]);
      if (next == nodes_[node].next.end()) break;
      node = next->second;
      if (nodes_[node].value >= 0) {
        match = {at, i + 1, static_cast<std::uint32_t>(nodes_[node].value)};
        any = true;
      }
    }
    if (any) return true;
  }
  return false;
}

void AddedTokens::add(AddedToken token, std::string normalized) {
  if (token.content.empty()) return;
  by_content_[token.content] = token.id;
  if (token.special) special_.insert(token.content);
  normalized_content_.erase(token.id);
  if (token.normalized && normalized != token.content) normalized_content_[token.id] = std::move(normalized);
  by_id_[token.id] = std::move(token);
}

void AddedTokens::finish() {
  for (const auto& [id, token] : by_id_) {
    const std::string_view sought = decoded(token);
    longest_ = std::max(longest_, sought.size());
    if (!sought.empty()) (token.normalized ? normalized_ : raw_).add(sought, static_cast<std::uint32_t>(id));
  }
}

void AddedTokens::split(std::string_view text, bool normalized, std::vector<Stretch>& out) const {
  const StringFinder& finder = normalized ? normalized_ : raw_;
  std::size_t done = 0;
  std::size_t from = 0;
  StringFinder::Match match;
  while (finder.find(text, from, match)) {
    from = match.end;
    const AddedToken& token = by_id_.at(static_cast<TokenId>(match.value));
    std::size_t begin = match.begin;
    std::size_t end = match.end;
    if (token.single_word) {
      std::size_t before = begin;
      std::size_t after = end;
      if (begin > 0 && is_rust_word(previous_code_point(text, before))) continue;
      if (end < text.size() && is_rust_word(next_code_point(text, after))) continue;
    }
    if (token.lstrip) {
      for (std::size_t at = begin; at > 0;) {
        if (!is_space(previous_code_point(text, at))) break;
        begin = at;
      }
      begin = std::max(begin, done);
    }
    if (token.rstrip) {
      for (std::size_t at = end; at < text.size();) {
        if (!is_space(next_code_point(text, at))) break;
        end = at;
      }
    }
    if (done < begin) out.push_back({done, begin, -1});
    out.push_back({begin, end, token.id});
    done = end;
  }
  if (done < text.size()) out.push_back({done, text.size(), -1});
}

bool AddedTokens::occurs(std::string_view text, bool normalized) const {
  StringFinder::Match match;
  return (normalized ? normalized_ : raw_).find(text, 0, match);
}

const AddedToken* AddedTokens::find(TokenId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &found->second;
}

TokenId AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found == by_content_.end() ? -1 : found->second;
}

std::string_view AddedTokens::decoded(const AddedToken& token) const {
  const auto found = normalized_content_.find(token.id);
  return found == normalized_content_.end() ? std::string_view(token.content) : std::string_view(found->second);
}

bool AddedTokens::is_special(std::string_view content) const {
  return special_.contains(std::string(content));
}

}  // namespace mobula::text
