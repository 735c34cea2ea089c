#include "mobula/data/content/content_rules.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/random.hpp"
#include "mobula/data/content/minhash.hpp"
#include "mobula/data/describe.hpp"
#include "mobula/data/plan/plan.hpp"
#include "mobula/data/rows/typed_rows.hpp"

namespace mobula::data {
namespace {

struct Text {
  std::string text;
};

std::vector<std::string> kept(const std::vector<Text>& texts, const ContentRules& rules,
                              const std::shared_ptr<ContentReport>& report = nullptr) {
  std::vector<std::string> result;
  for (const auto& batch : keep_content(Dataset::from_batches({batch_of(texts)}), rules, report).collect()) {
    for (const Text& row : rows_of<Text>(batch)) result.push_back(row.text);
  }
  return result;
}

TEST(ContentRules, KeepTheSameTextsWhetherTheyAreReportedOrNot) {
  std::vector<Text> texts;
  Random random(5);
  for (int i = 0; i < 5000; ++i) {
    texts.push_back({fmt::format("{} the cat and the dog are here {}", std::string(random.below(40), 'a'), i)});
    if (random.below(3) == 0) texts.back().text = fmt::format("das ist nicht der Hund und die Katze {}", i);
  }
  const ContentRules rules{
      .min_length = 35, .max_length = 60, .not_matches = {"7$"}, .banned = {"42"}, .languages = {"en"}};
  const auto alone = kept(texts, rules);
  EXPECT_EQ(alone, kept(texts, rules, std::make_shared<ContentReport>()));
  EXPECT_GT(alone.size(), 500U);
  EXPECT_LT(alone.size(), 4500U);
  // Rules that look at no other text need no other rows: workers can make parts of what they keep.
  const auto rows = Dataset::from_batches({batch_of(texts)});
  EXPECT_EQ(keep_content(rows, rules).plan()->holds_back(), "");
  EXPECT_EQ(keep_content(rows, {.exact_duplicates = true}).plan()->holds_back(), "keep_content");
}

TEST(ContentRules, KeepWhatMeetsThemAndReportTheRest) {
  const auto report = std::make_shared<ContentReport>();
  const ContentRules rules{.min_length = 4,
                           .max_length = 30,
                           .matches = {"[a-zé]"},
                           .not_matches = {"\\d{3}"},
                           .banned = {"Foo bar", "c++"},
                           .exact_duplicates = true};
  EXPECT_EQ(kept({{"éé"},
                  {"good text"},
                  {std::string(31, 'a')},
                  {"ABCDEF"},
                  {"call 123"},
                  {"a foo BAR b"},
                  {"foo barn"},
                  {"in C++."},
                  {"good text"},
                  {"good  text"}},
                 rules, report),
            (std::vector<std::string>{"good text", "foo barn", "good  text"}));
  const Json json = report->to_json();
  EXPECT_EQ(json["rows"], 10);
  EXPECT_EQ(json["kept"], 3);
  const Json expected = {{"banned: Foo bar", 1}, {"banned: c++", 1},    {"does not match [a-zé]", 1},
                         {"exact duplicate", 1}, {"matches \\d{3}", 1}, {"too long", 1},
                         {"too short", 1}};
  EXPECT_EQ(json["dropped"], expected);
  EXPECT_EQ(json["examples"].size(), 7u);
}

TEST(ContentRules, NameFileAndRowOfWhatTheyDropAndWriteTheReport) {
  const TemporaryDirectory folder;
  const auto file = (folder.path() / "a.txt").string();
  write_file_atomic(file, "one long line\nx\nanother long line\n");
  const auto report_file = folder.path() / "report.json";
  keep_content(Dataset::read(file), {.min_length = 3}, nullptr, report_file).count();
  const Json json = parse_json(read_file(report_file), "report");
  EXPECT_EQ(json["dropped"], (Json{{"too short", 1}}));
  EXPECT_NE(json["examples"][0]["where"].get<std::string>().find("a.txt"), std::string::npos);
}

TEST(ContentRules, RefuseExpressionsAndColumnsThatAreNone) {
  const auto rows = Dataset::range(3).with({{"text", "'a'"}});
  EXPECT_THROW(keep_content(rows, {.matches = {"("}}), Error);
  EXPECT_THROW(keep_content(rows, {.banned = {""}}), Error);
  EXPECT_THROW(keep_content(rows, {.near_duplicates = 2}), Error);
  EXPECT_THROW(keep_content(rows, {.column = "txt"}).count(), Error);
  EXPECT_THROW(keep_content(rows, {.column = "id"}).count(), Error);
}

std::string random_words(Random& random, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += fmt::format("w{} ", random.below(5000));
  return text;
}

TEST(MinHash, EstimatesTheJaccardSimilarityOfRunsOfWords) {
  Random random(1);
  for (const int changed : {0, 5, 20, 60}) {
    double error = 0;
    for (int trial = 0; trial < 20; ++trial) {
      const std::string tail = random_words(random, 200 - changed);
      const std::string a = random_words(random, changed) + tail;
      const std::string b = random_words(random, changed) + tail;
      const double common = 200 - changed - 4;
      const double exact = common / (2 * 196 - common);
      error += similarity(minhash(a), minhash(b)) - exact;
    }
    EXPECT_NEAR(error / 20, 0, 0.03) << changed;
  }
}

TEST(MinHash, DropsNearDuplicatesAndNothingElse) {
  Random random(2);
  std::vector<Text> texts;
  std::set<std::string> originals;
  for (int i = 0; i < 300; ++i) {
    const std::string text = random_words(random, 150);
    originals.insert(text);
    texts.push_back({text});
    texts.push_back({text + "and one more"});  // similarity 0.98
    texts.push_back({"Other words first " + text});
  }
  ContentRules rules{.near_duplicates = 0.8};
  const auto result = kept(texts, rules);
  EXPECT_EQ(std::set<std::string>(result.begin(), result.end()), originals);
  EXPECT_EQ(result.size(), originals.size());
}

TEST(Language, IsGuessedByScriptAndCommonWords) {
  EXPECT_EQ(guess_language("This is the way that it was meant to be, and you have to live with it."), "en");
  EXPECT_EQ(guess_language("Das ist nicht der Weg, den wir für die Zukunft gehen werden."), "de");
  EXPECT_EQ(guess_language("Il est dans la maison avec les enfants qui ne sont pas venus pour vous."), "fr");
  EXPECT_EQ(guess_language("No es lo que hay, pero está muy bien como una idea para los niños."), "es");
  EXPECT_EQ(guess_language("Questo non è il libro che sono venuto a cercare nella stanza, ma anche."), "it");
  EXPECT_EQ(guess_language("Você não tem uma ideia do que isso foi, mas ele é muito bom em tudo."), "pt");
  EXPECT_EQ(guess_language("Het is niet wat ik dacht, maar deze fiets wordt ook naar een ander huis gebracht."), "nl");
  EXPECT_EQ(guess_language("你好，世界。"), "zh");
  EXPECT_EQ(guess_language("これは日本語の文章です。"), "ja");
  EXPECT_EQ(guess_language("Это русский текст"), "ru");
  EXPECT_EQ(guess_language("안녕하세요 세계"), "ko");
  EXPECT_EQ(guess_language("12345 !!"), "und");
}

}  // namespace
}  // namespace mobula::data
