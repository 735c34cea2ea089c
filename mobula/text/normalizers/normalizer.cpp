#include "mobula/text/normalizers/normalizer.hpp"

#include "mobula/text/byte_alphabet.hpp"
#include "mobula/text/unicode/properties.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

// Keeps the characters for which keep(c) holds, each as map(c).
template <class Keep, class Map>
void filter(AlignedText& text, Keep&& keep, Map&& map) {
  // A character that goes belongs to the one kept before it; those before the first are skipped.
  std::size_t skipped = 0;
  std::size_t at = 0;
  while (at < text.text.size()) {
    std::size_t next = at;
    if (keep(next_code_point(text.text, next))) break;
    at = next;
    ++skipped;
  }
  Rewrite rewrite(text, skipped);
  while (at < text.text.size()) {
    const char32_t kept = next_code_point(text.text, at);
    int removed = 0;
    while (at < text.text.size()) {
      std::size_t next = at;
      if (keep(next_code_point(text.text, next))) break;
      at = next;
      ++removed;
    }
    rewrite.put(map(kept), -removed);
  }
  rewrite.commit();
}

char32_t same(char32_t c) {
  return c;
}

char ascii_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

bool is_nmt_control(char32_t c) {
  return (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
}

char32_t nmt_space(char32_t c) {
  const bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                     c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
  return space ? U' ' : c;
}

void put_form(AlignedText& text, NormalizationForm form) {
  if (is_ascii(text.text)) return;
  const std::vector<NormalizedCharacter> characters = normalize_characters(text.text, form);
  Rewrite rewrite(text);
  for (const NormalizedCharacter& each : characters) rewrite.put(each.code_point, each.change);
  rewrite.commit();
}

void put_lowercase(AlignedText& text) {
  Rewrite rewrite(text);
  for (std::size_t at = 0; at < text.text.size();) {
    const char32_t c = next_code_point(text.text, at);
    const CodePoints mapped = lowercase(c);
    if (mapped.size == 0) {
      rewrite.put(c, 0);
      continue;
    }
    int change = 0;
    for (const char32_t each : mapped) {
      rewrite.put(each, change);
      change = 1;
    }
  }
  rewrite.commit();
}

}  // namespace

void FormNormalizer::normalize(AlignedText& text) const {
  put_form(text, form_);
}

void LowercaseNormalizer::normalize(AlignedText& text) const {
  if (!is_ascii(text.text)) return put_lowercase(text);
  for (char& c : text.text) c = ascii_lower(c);
}

void StripAccentsNormalizer::normalize(AlignedText& text) const {
  if (is_ascii(text.text)) return;
  filter(
      text, [](char32_t c) { return !is_combining_mark(c); }, same);
}

void StripNormalizer::normalize(AlignedText& text) const {
  std::size_t begin = 0;
  std::size_t end = text.text.size();
  while (left_ && begin < end) {
    std::size_t next = begin;
    if (!is_space(next_code_point(text.text, next))) break;
    begin = next;
  }
  while (right_ && begin < end) {
    std::size_t before = end;
    if (!is_space(previous_code_point(text.text, before))) break;
    end = before;
  }
  text.text = text.text.substr(begin, end - begin);
  if (text.tracked) {
    text.origin = std::vector<Span>(text.origin.begin() + static_cast<std::ptrdiff_t>(begin),
                                    text.origin.begin() + static_cast<std::ptrdiff_t>(end));
  }
}

void BertNormalizer::run_steps(AlignedText& text) const {
  if (options_.clean_text) {
    const auto keep = [](char32_t c) { return c == '\t' || c == '\n' || c == '\r' || !is_bert_control(c); };
    filter(text, keep, [](char32_t c) { return is_space(c) ? U' ' : c; });
  }
  if (options_.handle_chinese_chars) {
    Rewrite rewrite(text);
    for (std::size_t at = 0; at < text.text.size();) {
      const char32_t c = next_code_point(text.text, at);
      if (!is_bert_chinese(c)) {
        rewrite.put(c, 0);
        continue;
      }
      rewrite.put(U' ', 0);
      rewrite.put(c, 1);
      rewrite.put(U' ', 1);
    }
    rewrite.commit();
  }
  if (options_.strip_accents && !is_ascii(text.text)) {
    put_form(text, NormalizationForm::nfd);
    filter(
        text, [](char32_t c) { return !is_nonspacing_mark(c); }, same);
  }
  if (options_.lowercase) put_lowercase(text);
}

void BertNormalizer::normalize(AlignedText& text) const {
  if (text.tracked) return run_steps(text);
  // All steps work within a run of characters that aren't ASCII, so that ASCII is mapped byte by byte.
  std::string out;
  out.reserve(text.text.size() + text.text.size() / 8);
  const std::string_view source = text.text;
  AlignedText part;
  for (std::size_t at = 0; at < source.size();) {
    const auto byte = static_cast<unsigned char>(source[at]);
    if (byte < 128) {
      ++at;
      char c = static_cast<char>(byte);
      if (options_.clean_text) {
        if (c == '\t' || c == '\n' || c == '\r') {
          c = ' ';
        } else if (byte < 32 || byte == 127) {
          continue;
        }
      }
      out += options_.lowercase ? ascii_lower(c) : c;
      continue;
    }
    const std::size_t begin = at;
    while (at < source.size() && static_cast<unsigned char>(source[at]) >= 128) ++at;
    part.text = source.substr(begin, at - begin);
    run_steps(part);
    out += part.text;
  }
  text.text = std::move(out);
}

void ReplaceNormalizer::normalize(AlignedText& text) const {
  std::vector<Stretch> stretches;
  regex_.find_all(text.text, stretches);
  if (stretches.size() == 1 && !stretches[0].matched) return;
  Rewrite rewrite(text);
  for (const Stretch& stretch : stretches) {
    if (stretch.matched) {
      rewrite.drop(stretch.end - stretch.begin);
      rewrite.insert(content_);
    } else {
      rewrite.keep(stretch.end - stretch.begin);
    }
  }
  rewrite.commit();
}

void PrependNormalizer::normalize(AlignedText& text) const {
  if (text.text.empty() || text.continues) return;
  text.text.insert(0, prefix_);
  if (text.tracked) text.origin.insert(text.origin.begin(), prefix_.size(), Span(text.origin.front()));
}

void NmtNormalizer::normalize(AlignedText& text) const {
  filter(
      text, [](char32_t c) { return !is_nmt_control(c); }, nmt_space);
}

void ByteLevelNormalizer::normalize(AlignedText& text) const {
  AlignedText spelt;
  spelt.tracked = text.tracked;
  spelt.continues = text.continues;
  for (std::size_t at = 0; at < text.text.size(); ++at) {
    const std::size_t before = spelt.text.size();
    append_utf8(spelt.text, byte_to_character(static_cast<std::uint8_t>(text.text[at])));
    if (text.tracked) spelt.origin.insert(spelt.origin.end(), spelt.text.size() - before, text.origin[at]);
  }
  text = std::move(spelt);
}

}  // namespace mobula::text
