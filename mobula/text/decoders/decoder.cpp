#include "mobula/text/decoders/decoder.hpp"

#include "mobula/text/byte_alphabet.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

std::string join(const std::vector<std::string>& tokens) {
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  std::size_t at = text.find(from);
  if (at == std::string::npos) return;
  std::string out;
  std::size_t done = 0;
  for (; at != std::string::npos; at = text.find(from, done)) {
    out.append(text, done, at - done).append(to);
    done = at + from.size();
  }
  text = out.append(text, done);
}

// Undoes what tokenization did to English, as BERT's decoder does.
void clean_up(std::string& text) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) replace_all(text, from, to);
}

int hex_digit(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

}  // namespace

void BpeDecoder::apply(std::vector<std::string>& tokens) const {
  for (std::size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], suffix_, i + 1 == tokens.size() ? "" : " ");
}

void WordPieceDecoder::apply(std::vector<std::string>& tokens) const {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) {
      if (tokens[i].starts_with(prefix_)) {
        tokens[i].erase(0, prefix_.size());
      } else {
        tokens[i].insert(tokens[i].begin(), ' ');
      }
    }
    if (cleanup_) clean_up(tokens[i]);
  }
}

void MetaspaceDecoder::apply(std::vector<std::string>& tokens) const {
  for (std::size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], replacement_, i == 0 && prepended_ ? "" : " ");
}

void CtcDecoder::apply(std::vector<std::string>& tokens) const {
  std::vector<std::string> kept;
  const std::string* last = nullptr;
  for (const std::string& token : tokens) {
    const bool repeated = last != nullptr && *last == token;
    last = &token;
    if (repeated) continue;
    std::string text = token;
    replace_all(text, pad_, "");
    if (cleanup_) {
      clean_up(text);
      replace_all(text, delimiter_, " ");
    }
    if (!text.empty()) kept.push_back(std::move(text));
  }
  tokens = std::move(kept);
}

int ByteFallbackDecoder::named_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const int high = hex_digit(token[3]);
  const int low = hex_digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

void ByteFallbackDecoder::apply(std::vector<std::string>& tokens) const {
  std::vector<std::string> out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (is_valid_utf8(bytes)) {
      out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    const int byte = named_byte(token);
    if (byte >= 0) {
      bytes += static_cast<char>(byte);
    } else {
      flush();
      out.push_back(std::move(token));
    }
  }
  flush();
  tokens = std::move(out);
}

void ReplaceDecoder::apply(std::vector<std::string>& tokens) const {
  std::vector<Stretch> stretches;
  for (std::string& token : tokens) {
    stretches.clear();
    regex_.find_all(token, stretches);
    std::string out;
    for (const Stretch& stretch : stretches) {
      if (stretch.matched) {
        out += content_;
      } else {
        out.append(token, stretch.begin, stretch.end - stretch.begin);
      }
    }
    token = std::move(out);
  }
}

void StripDecoder::apply(std::vector<std::string>& tokens) const {
  for (std::string& token : tokens) {
    std::size_t begin = 0;
    for (std::size_t i = 0; i < start_ && begin < token.size(); ++i) {
      std::size_t next = begin;
      if (next_code_point(token, next) != content_) break;
      begin = next;
    }
    std::size_t end = token.size();
    for (std::size_t i = 0; i < stop_ && end > begin; ++i) {
      std::size_t before = end;
      if (previous_code_point(token, before) != content_) break;
      end = before;
    }
    token = token.substr(begin, end - begin);
  }
}

void ByteLevelDecoder::apply(std::vector<std::string>& tokens) const {
  std::string bytes;
  for (const std::string& token : tokens) {
    if (!append_bytes_of(bytes, token)) bytes += token;
  }
  std::string text;
  append_repaired_utf8(text, bytes);
  tokens.assign(1, std::move(text));
}

void FuseDecoder::apply(std::vector<std::string>& tokens) const {
  tokens.assign(1, join(tokens));
}

void SequenceDecoder::apply(std::vector<std::string>& tokens) const {
  for (const auto& step : steps_) step->apply(tokens);
}

}  // namespace mobula::text
