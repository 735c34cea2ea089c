/// Small whole files of every format that tokenizers come in, and templates: what tests and fuzz targets damage. For tests.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/text/tokenizer.hpp"
#include "mobula/text/training/vocabulary_trainer.hpp"

namespace mobula::text::testing_samples {

/// Encodes and decodes what tokenizers stumble over, and writes the tokenizer.
inline void try_out(const Tokenizer& tokenizer) {
  for (const std::string_view text :
       {"the quick  brown fox's 12 na\xC3\xAFve \xE4\xB8\x96\n\n", "", "\xFF\xE2\x96\x81 a", "<unk></s>[MASK]"}) {
    std::vector<TokenId> ids = tokenizer.encode(text);
    tokenizer.encode_full(text, "and another");
    tokenizer.decode(ids);
    tokenizer.decode(ids, false);
  }
  tokenizer.to_json();
}

/// The protocol-buffer encoding of sentencepiece models.
inline std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 128; value >>= 7) out += static_cast<char>(value | 128);
  out += static_cast<char>(value);
  return out;
}
inline std::string message(int field, const std::string& content) {
  std::string out(1, static_cast<char>(field << 3 | 2));
  out.append(varint(content.size())).append(content);
  return out;
}
inline std::string number(int field, std::uint64_t value) {
  std::string out = varint(static_cast<std::uint64_t>(field) << 3);
  out.append(varint(value));
  return out;
}
inline std::string piece(const std::string& text, float score, int type) {
  std::string bytes(4, '\0');
  std::memcpy(bytes.data(), &score, 4);
  std::string content = message(1, text);
  content.append("\x15").append(bytes).append(number(3, static_cast<std::uint64_t>(type)));
  return message(1, content);
}

/// Returns a .model file: 1 is Unigram, 2 BPE.
inline std::string sentencepiece_model(int algorithm) {
  std::string model = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("the fox", 0, 4);
  for (int byte = 0; byte < 256; ++byte) model += piece(fmt::format("<0x{:02X}>", byte), 0, 6);
  float score = -1;
  for (const char* text : {"\xE2\x96\x81", "\xE2\x96\x81t", "he", "\xE2\x96\x81the", "o", "x", "ox", "f", "a", "n",
                           "an", "q", "u", "qu", "i", "c", "k"}) {
    model += piece(text, score, text[0] == 'q' ? 5 : 1);
    score -= 0.5F;
  }
  return model + message(2, number(3, static_cast<std::uint64_t>(algorithm)) + number(35, 1)) +
         message(3, number(3, 1) + number(4, 1));
}

/// Returns the tokenizer.json of a vocabulary of a few words.
inline std::string small_tokenizer(VocabularyKind kind) {
  VocabularyTrainer trainer({.kind = kind, .vocab_size = kind == VocabularyKind::wordpiece ? 60U : 290U});
  trainer.feed("the quick brown fox jumps over the lazy dog the fox quick quick\n");
  return trainer.train()->to_json();
}

/// Returns a tiktoken file of all bytes and three joined tokens.
inline std::string tiktoken_ranks() {
  std::string ranks;
  static const char* const kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int byte = 0; byte < 256; ++byte)
    ranks += fmt::format("{}{}== {}\n", kDigits[byte >> 2], kDigits[(byte & 3) << 4], byte);
  ranks += "dGg= 256\naGU= 257\ndGhl 258\n";
  return ranks;
}

/// Returns what templates are rendered with.
inline Json template_context() {
  return {
      {"messages", Json::array({{{"role", "user"}, {"content", "hi"}}, {{"role", "assistant"}, {"content", "yo"}}})},
      {"add_generation_prompt", true},
      {"bos_token", "<s>"},
      {"n", 3},
      {"words", {"b", "a"}}};
}

/// Returns templates that use most of the language.
inline std::vector<std::string> templates() {
  return {
      "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{{ m.content | trim }}{% endfor %}{% if "
      "add_generation_prompt %}<|a|>{% endif %}",
      "{%- set ns = namespace(x=0) -%}{%- macro f(a, b=2) -%}{{ a }}{{ b ~ 'c' }}{%- endmacro -%}{{ f(1) }}{% set "
      "ns.x = ns.x + 1 %}{{ ns.x }}",
      "{{ words | sort | join(', ') }}{{ {'a': [1, 2.5, none]} | tojson(indent=2) }}{{ range(n) | list }}{{ 'x' * "
      "3 }}{{ words[::-1] }}",
      "{% call(u) f() %}{{ u }}{% endcall %}{% filter upper %}a{% endfilter %}{% with x = 1 %}{{ x }}{% endwith "
      "%}{% raw %}{{ }}{% endraw %}"};
}

}  // namespace mobula::text::testing_samples
