#include "mobula/data/preprocess/models.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>

#include "mobula/base/files.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/core/runtime.hpp"
#include "mobula/data/rows/typed_rows.hpp"

namespace mobula::data {
namespace {

std::atomic<int> num_loaded = 0;

/// Knows the length of a text, and fails on those over 5 bytes.
class LengthModel : public LoadedModel {
 public:
  explicit LengthModel(const ModelOptions& options) : options_(options) { ++num_loaded; }
  std::int64_t dimension() const override { return 2; }
  std::vector<std::string> labels() const override { return {"short", "long"}; }
  std::vector<ModelAnswer> answer(const std::vector<std::string>& texts) override {
    std::vector<ModelAnswer> answers(texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const auto length = static_cast<float>(texts[i].size());
      answers[i].values =
          options_.task == ModelTask::embed ? std::vector{length, -length} : std::vector{1 - length / 10, length / 10};
      answers[i].text = texts[i] + options_.stop.at(0);
      answers[i].finish_reason = "length";
      if (texts[i].size() > 5) answers[i].error = "too long";
    }
    return answers;
  }

 private:
  ModelOptions options_;
};

struct Text {
  std::optional<std::string> text;
};

struct Answered {
  std::optional<std::string> text;
  std::optional<std::string> generated;
  std::optional<std::string> finish_reason;
};

struct Labelled {
  std::optional<std::string> text;
  std::optional<std::string> tag;
  std::optional<float> probability;
};

class Models : public testing::Test {
 protected:
  Models() {
    num_loaded = 0;
    know_models([](const ModelOptions& options) { return std::make_unique<LengthModel>(options); });
  }
  ~Models() override { know_models(nullptr); }
  static Dataset texts(std::vector<std::optional<std::string>> values) {
    std::vector<Text> rows;
    for (auto& value : values) rows.push_back({std::move(value)});
    return Dataset::from_batches({batch_of(rows)});
  }
  static ModelOptions options(ModelTask task) { return {.task = task, .model = "somewhere", .stop = {"!"}}; }
  Runtime runtime_{RuntimeOptions{}};
};

TEST_F(Models, GiveEachRowWhatComesOfItsText) {
  std::vector<Answered> rows;
  for (const auto& batch :
       run_model(texts({"a", std::nullopt, "bb", "", "ccc"}), options(ModelTask::generate), {.batch_size = 2})
           .collect()) {
    for (Answered& row : rows_of<Answered>(batch)) rows.push_back(std::move(row));
  }
  ASSERT_EQ(rows.size(), 5U);
  EXPECT_EQ(rows[0].generated, "a!");
  EXPECT_EQ(rows[1].generated, std::nullopt);
  EXPECT_EQ(rows[1].finish_reason, std::nullopt);
  EXPECT_EQ(rows[3].generated, "!");
  EXPECT_EQ(rows[4].finish_reason, "length");
}

TEST_F(Models, NameTheLikeliestLabel) {
  ModelOptions classify = options(ModelTask::classify);
  classify.into = "tag";
  const auto batches = run_model(texts({"a", "", std::nullopt, "ccccc"}), classify).collect();
  ASSERT_EQ(batches.size(), 1U);
  const auto rows = rows_of<Labelled>(batches[0]);
  EXPECT_EQ(rows[0].tag, "short");
  EXPECT_FLOAT_EQ(rows[1].probability.value(), 1);
  EXPECT_EQ(rows[2].tag, std::nullopt);
  EXPECT_FLOAT_EQ(rows[3].probability.value(), 0.5);
}

TEST_F(Models, MakeBadRowsOfTextsTheyFailOn) {
  const Dataset rows = run_model(texts({"a", "much too long", "b"}), options(ModelTask::embed));
  EXPECT_NE(refusal([&] { rows.count(); }).find("too long: 'much too long'"), std::string::npos);
  const TemporaryDirectory folder;
  RunOptions run;
  run.on_error = {.max_skipped = 1, .dead_letter = folder.path() / "dead.jsonl"};
  const RunResult result = rows.count(run);
  EXPECT_EQ(result.rows, 2);
  EXPECT_EQ(result.skipped, 1);
  EXPECT_NE(read_file(folder.path() / "dead.jsonl").find("\"text\":\"much too long\""), std::string::npos);
}

TEST_F(Models, AreLoadedOnceForAllPartsOfARun) {
  const TemporaryDirectory folder;
  WriteOptions write;
  write.resume = true;
  write.part_rows = 10;
  const Dataset rows = Dataset::range(100).with({{"text", "cast(id, 'string')"}});
  const std::string out = (folder.path() / "out").string() + "/";
  EXPECT_EQ(run_model(rows, options(ModelTask::generate)).write(out, "parquet", write).rows, 100);
  EXPECT_EQ(num_loaded, 1);
}

TEST_F(Models, AreRefusedWithTheReason) {
  ModelOptions greedy = options(ModelTask::generate);
  greedy.temperature = -1;
  EXPECT_NE(refusal([&] { run_model(texts({"a"}), greedy); }).find("temperature is -1"), std::string::npos);
  ModelOptions none = options(ModelTask::embed);
  none.model.clear();
  EXPECT_NE(refusal([&] { run_model(texts({"a"}), none); }).find("embed: no model"), std::string::npos);
  ModelOptions other = options(ModelTask::embed);
  other.column = "txt";
  EXPECT_NE(refusal([&] { run_model(texts({"a"}), other).count(); }).find("no column 'txt'"), std::string::npos);
  know_models(nullptr);
  EXPECT_NE(refusal([&] { run_model(texts({"a"}), options(ModelTask::embed)).count(); }).find("knows no models"),
            std::string::npos);
}

TEST_F(Models, KeepTheirOptionsOnTheWayToAWorker) {
  ModelOptions given = options(ModelTask::classify);
  given.into = "x";
  given.top_k = 7;
  given.seed = 1ULL << 60;
  const ModelOptions back = ModelOptions::from_json(given.to_json());
  EXPECT_EQ(back.to_json(), given.to_json());
  EXPECT_EQ(back.seed, given.seed);
  EXPECT_EQ(back.task, ModelTask::classify);
}

}  // namespace
}  // namespace mobula::data
