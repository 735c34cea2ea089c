#include "mobula/train/run/config.hpp"

#include <gtest/gtest.h>

#include "mobula/base/error.hpp"
#include "mobula/base/testing/refusal.hpp"

namespace mobula::train {
namespace {

RunConfig read(std::string_view yaml) {
  RunConfig config;
  Config::from_text(yaml, "run.yaml").read(config);
  return config;
}

std::string refusal(std::string_view yaml) {
  return mobula::refusal_with_hint([&] { read(yaml); }, ErrorCode::invalid_argument);
}

TEST(RunConfig, ReadsWhatItPrints) {
  RunConfig config = read("{train: {lr: 3e-4, precision: bf16, steps: 5}, scaling: {workers: 2}, data: {path: a.txt}}");
  EXPECT_EQ(config.train.lr, 3e-4);
  EXPECT_EQ(config.scaling.workers, 2);
  RunConfig again = read(config_to_yaml(config));
  EXPECT_EQ(config_to_list(again), config_to_list(config));
}

TEST(RunConfig, RefusesWhatCanNotWorkAndNamesTheKey) {
  EXPECT_NE(refusal("scaling: {workers: 0}").find("scaling.workers is 0"), std::string::npos);
  EXPECT_NE(refusal("train: {stepz: 3}").find("unknown key 'train.stepz'"), std::string::npos);
  EXPECT_NE(refusal("train: {stepz: 3}").find("steps"), std::string::npos);
  EXPECT_NE(refusal("train: {steps: many}").find("expected a whole number"), std::string::npos);
  EXPECT_NE(refusal("train: {precision: fp16}").find("fp32, bf16"), std::string::npos);
  EXPECT_NE(refusal("train: {min_lr: 1}").find("train.min_lr"), std::string::npos);
  EXPECT_NE(refusal("model: {hidden: 130, heads: 4}").find("multiple of model.heads"), std::string::npos);
  EXPECT_NE(refusal("{train: {batch_size: 2}, scaling: {workers: 3}}").find("3 workers"), std::string::npos);
  EXPECT_NE(refusal("tokenizer: {kind: bpe, vocab_size: 200}").find("tokenizer.vocab_size is 200"), std::string::npos);
  EXPECT_NE(refusal("tokenizer: {kind: word}").find("byte, char, bpe"), std::string::npos);
  EXPECT_NE(refusal("data: {format: xml}").find("data.format"), std::string::npos);
}

TEST(RunConfig, AllowsAResumedRunToChangeStepsScalingAndCheckpoints) {
  const RunConfig before = read("train: {steps: 100}");
  EXPECT_TRUE(
      forbidden_changes(before, read("{train: {steps: 200}, scaling: {workers: 2}, checkpoint: {every: 7}}")).empty());
  const auto changes = forbidden_changes(before, read("{train: {steps: 100, lr: 1}, model: {layers: 2}}"));
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes[0].key, "model.layers");
  EXPECT_EQ(changes[0].before, "4");
  EXPECT_EQ(changes[0].after, "2");
  EXPECT_EQ(changes[1].key, "train.lr");
}

}  // namespace
}  // namespace mobula::train
