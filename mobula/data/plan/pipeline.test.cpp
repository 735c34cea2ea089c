#include "mobula/data/plan/pipeline.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "mobula/base/files.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/data/describe.hpp"

namespace mobula::data {
namespace {

std::vector<std::string> rows(const std::string& steps, const std::string& source = "{range: 20}") {
  return rows_as_json(parse_pipeline(fmt::format("source: {}\nsteps:\n{}", source, steps), "p.yaml").dataset);
}

TEST(Pipeline, KnowsEveryStepThatItsDocumentationNames) {
  EXPECT_EQ(rows("  - filter: \"id > 17\"\n  - with: {x: \"id * 2\"}\n  - rename: {x: y}\n  - sort: -id"),
            (std::vector<std::string>{R"({"id":19,"y":38})", R"({"id":18,"y":36})"}));
  EXPECT_EQ(rows("  - with: {k: \"id % 2\"}\n  - groupby: {keys: k, aggregates: {n: count(id), top: max(id)}}"),
            (std::vector<std::string>{R"({"k":0,"n":10,"top":18})", R"({"k":1,"n":10,"top":19})"}));
  EXPECT_EQ(rows("  - with: {k: \"id % 2\"}\n  - unique: k").size(), 2u);
  EXPECT_EQ(rows("  - random_shuffle: {seed: 3}\n  - limit: 7").size(), 7u);
  EXPECT_EQ(rows("  - join: {right: {range: 5}, on: id, how: anti}").size(), 15u);
  EXPECT_EQ(rows("  - union: {range: 3}\n  - repartition: 5\n  - stage: {threads: 1}").size(), 23u);
  EXPECT_LT(rows("  - sample: {fraction: 0.5, seed: 1}").size(), 20u);
  EXPECT_EQ(
      rows("  - with: {text: \"concat('t', id % 4)\"}\n  - keep_content: {exact_duplicates: true, banned: t2}").size(),
      3u);
  EXPECT_EQ(rows("  - rename: {id: a}\n  - zip: {range: 20}").at(3), R"({"a":3,"id":3})");
}

TEST(Pipeline, NamesLineAndStepOfWhatIsWrong) {
  const auto message = [](const std::string& steps) { return refusal_with_hint([&] { rows(steps); }); };
  EXPECT_NE(message("  - fliter: \"id > 1\"").find("p.yaml:3: unknown step 'fliter'"), std::string::npos);
  EXPECT_NE(message("  - groupby: {keys: id, aggregates: {n: \"id + 1\"}}").find("is no aggregate of a column"),
            std::string::npos);
  EXPECT_NE(message("  - sample: {seed: 1}").find("sample: no fraction"), std::string::npos);
  EXPECT_NE(message("  - random_shuffle: {sed: 1}").find("unknown key 'sed'"), std::string::npos);
  EXPECT_NE(message("  - join: {right: {range: 5}, on: id, how: outer}").find("join: unknown kind 'outer'"),
            std::string::npos);
}

TEST(Pipeline, ReadsWhatHappensToBadRows) {
  const auto pipeline = parse_pipeline("source: {range: 1}\non_error: {skip: 100, dead_letter: dead.jsonl}", "p.yaml");
  EXPECT_EQ(pipeline.run.on_error.max_skipped, 100);
  EXPECT_EQ(pipeline.run.on_error.dead_letter, "dead.jsonl");
  EXPECT_NE(refusal_with_hint([] { parse_pipeline("source: {range: 1}\non_error: {skip: -1}", "p.yaml"); }),
            "accepted");
}

}  // namespace
}  // namespace mobula::data
