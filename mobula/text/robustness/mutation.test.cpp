// Damaged files and templates: every parser refuses them with an Error or reads something that works. Drawn anew in
// every run; build with the asan preset and set MOBULA_TEST_MUTATIONS=1000000 to look for long.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <random>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/testing/seed.hpp"
#include "mobula/text/chat_template.hpp"
#include "mobula/text/testing/samples.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::text {
namespace {

using namespace testing_samples;

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
  const TemporaryDirectory folder("damaged");
  Mutator({tiktoken_ranks()}).run(500, [&](const std::string& text) {
    write_file_atomic(folder.path() / "x.tiktoken", text);
    try_out(*load_tiktoken(folder.path() / "x.tiktoken", {"cl100k", {}}));
  });
}

TEST(DamagedFiles, OfTemplatesAreRefusedOrRender) {
  const Json context = template_context();
  Mutator(templates()).run(6000, [&](const std::string& text) {
    ChatTemplate::parse(text, "damaged").render(context);
  });
}

}  // namespace
}  // namespace mobula::text
