// Damaged files and templates: every parser refuses them with an Error or reads something that works. Drawn anew in
// every run; build with the asan preset and set MOBULA_TEST_MUTATIONS=1000000 to look for long.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/testing/seed.hpp"
#include "mobula/text/chat_template.hpp"
#include "mobula/text/tokenizer.hpp"
#include "mobula/text/training/vocabulary_trainer.hpp"

namespace mobula::text {
namespace {

class Mutator {
 public:
  explicit Mutator(std::vector<std::string> corpus) : corpus_(std::move(corpus)) { random_.seed(seed_); }

  /// Calls use(text) with mutated texts; anything but an Error fails.
  void run(std::size_t usual, const std::function<void(const std::string&)>& use) {
    const char* given = std::getenv("MOBULA_TEST_MUTATIONS");
    const std::size_t count = given != nullptr ? std::stoul(given) : usual;
    for (std::size_t i = 0; i < count; ++i) {
      const std::string text = mutated();
      try {
        use(text);
      } catch (const Error& error) {
        ASSERT_NE(error.code(), ErrorCode::internal) << "seed " << seed_ << ", number " << i << ": " << error.message();
      } catch (const std::exception& other) {
        FAIL() << "seed " << seed_ << ", number " << i << ": " << other.what();
      }
    }
  }

 private:
  std::size_t below(std::size_t bound) { return bound == 0 ? 0 : random_() % bound; }

  std::string mutated() {
    static const std::string kInteresting[] = {"\"",
                                               "{",
                                               "}",
                                               "[",
                                               "]",
                                               "null",
                                               "-1",
                                               "99999999999",
                                               "\\u0000",
                                               "0",
                                               "1e999",
                                               "\xFF",
                                               "\xE2\x96\x81",
                                               "{{",
                                               "}}",
                                               "{%",
                                               "%}",
                                               "(?i",
                                               "+",
                                               "*",
                                               "\\p{L}",
                                               std::string(1, '\0'),
                                               "\x80\x80\x80\x80\x01",
                                               "\n",
                                               " "};
    std::string text = corpus_[below(corpus_.size())];
    for (std::size_t n = 1 + below(4); n > 0; --n) {
      const std::size_t at = below(text.size() + 1);
      const std::size_t length = std::min(text.size() - at, below(below(4) == 0 ? 200 : 6) + 1);
      switch (below(6)) {
        case 0:
          if (at < text.size()) text[at] = static_cast<char>(random_());
          break;
        case 1:
          text.erase(at, length);
          break;
        case 2:
          text.insert(at, text.substr(below(text.size() + 1), below(60)));
          break;
        case 3:
          text.insert(at, kInteresting[below(std::size(kInteresting))]);
          break;
        case 4: {
          const std::string& other = corpus_[below(corpus_.size())];
          text.replace(at, length, other.substr(below(other.size() + 1), below(80)));
          break;
        }
        default:
          if (below(8) == 0) text.resize(at);
          if (at < text.size()) text[at] = static_cast<char>(text[at] + (below(2) == 0 ? 1 : -1));
      }
    }
    return text;
  }

  std::vector<std::string> corpus_;
  std::uint64_t seed_ = drawn_seed();
  std::mt19937 random_;
};

void try_out(const Tokenizer& tokenizer) {
  for (const std::string_view text :
       {"the quick  brown fox's 12 na\xC3\xAFve \xE4\xB8\x96\n\n", "", "\xFF\xE2\x96\x81 a", "<unk></s>[MASK]"}) {
    std::vector<TokenId> ids = tokenizer.encode(text);
    tokenizer.encode_full(text, "and another");
    tokenizer.decode(ids);
    tokenizer.decode(ids, false);
  }
  tokenizer.to_json();
}

std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 128; value >>= 7) out += static_cast<char>(value | 128);
  out += static_cast<char>(value);
  return out;
}
std::string message(int field, const std::string& content) {
  std::string out(1, static_cast<char>(field << 3 | 2));
  out.append(varint(content.size())).append(content);
  return out;
}
std::string number(int field, std::uint64_t value) {
  std::string out = varint(static_cast<std::uint64_t>(field) << 3);
  out.append(varint(value));
  return out;
}
std::string piece(const std::string& text, float score, int type) {
  std::string bytes(4, '\0');
  std::memcpy(bytes.data(), &score, 4);
  std::string content = message(1, text);
  content.append("\x15").append(bytes).append(number(3, static_cast<std::uint64_t>(type)));
  return message(1, content);
}

std::string sentencepiece_model(int algorithm) {
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

std::string small_tokenizer(VocabularyKind kind) {
  VocabularyTrainer trainer({.kind = kind, .vocab_size = kind == VocabularyKind::wordpiece ? 60U : 290U});
  trainer.feed("the quick brown fox jumps over the lazy dog the fox quick quick\n");
  return trainer.train()->to_json();
}

TEST(DamagedFiles, OfTokenizersAreRefusedOrWork) {
  Mutator({small_tokenizer(VocabularyKind::bpe), small_tokenizer(VocabularyKind::unigram),
           small_tokenizer(VocabularyKind::wordpiece)})
      .run(1500, [](const std::string& text) { try_out(*Tokenizer::parse(text, "damaged")); });
}

TEST(DamagedFiles, OfSentencePieceAreRefusedOrWork) {
  Mutator({sentencepiece_model(1), sentencepiece_model(2)}).run(3000, [](const std::string& text) {
    std::string begins_well = text;
    if (!begins_well.empty()) begins_well[0] = '\n';
    try_out(*Tokenizer::parse(begins_well, "damaged"));
  });
}

TEST(DamagedFiles, OfTiktokenAreRefusedOrWork) {
  std::string ranks;
  static const char* const kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int byte = 0; byte < 256; ++byte)
    ranks += fmt::format("{}{}== {}\n", kDigits[byte >> 2], kDigits[(byte & 3) << 4], byte);
  ranks += "dGg= 256\naGU= 257\ndGhl 258\n";
  const TemporaryDirectory folder("damaged");
  Mutator({ranks}).run(500, [&](const std::string& text) {
    write_file_atomic(folder.path() / "x.tiktoken", text);
    try_out(*load_tiktoken(folder.path() / "x.tiktoken", {"cl100k", {}}));
  });
}

TEST(DamagedFiles, OfTemplatesAreRefusedOrRender) {
  const Json context = {
      {"messages", Json::array({{{"role", "user"}, {"content", "hi"}}, {{"role", "assistant"}, {"content", "yo"}}})},
      {"add_generation_prompt", true},
      {"bos_token", "<s>"},
      {"n", 3},
      {"words", {"b", "a"}}};
  Mutator({"{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{{ m.content | trim }}{% endfor %}{% if "
           "add_generation_prompt %}<|a|>{% endif %}",
           "{%- set ns = namespace(x=0) -%}{%- macro f(a, b=2) -%}{{ a }}{{ b ~ 'c' }}{%- endmacro -%}{{ f(1) }}{% set "
           "ns.x = ns.x + 1 %}{{ ns.x }}",
           "{{ words | sort | join(', ') }}{{ {'a': [1, 2.5, none]} | tojson(indent=2) }}{{ range(n) | list }}{{ 'x' * "
           "3 }}{{ words[::-1] }}",
           "{% call(u) f() %}{{ u }}{% endcall %}{% filter upper %}a{% endfilter %}{% with x = 1 %}{{ x }}{% endwith "
           "%}{% raw %}{{ }}{% endraw %}"})
      .run(6000, [&](const std::string& text) { ChatTemplate::parse(text, "damaged").render(context); });
}

}  // namespace
}  // namespace mobula::text
