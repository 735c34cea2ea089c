#include "mobula/serve/text_generator.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <future>

#include "mobula/base/error.hpp"
#include "mobula/serve/test_engine.hpp"

namespace mobula::serve {
namespace {

using namespace std::chrono_literals;

/// Collects a request's events until its end.
struct Collected {
  std::string text;
  std::vector<GeneratedToken> tokens;
  std::vector<double> prompt_logprobs;
  std::vector<std::string> pieces;
  TextEvent last;
  std::promise<void> done;

  std::function<void(TextEvent)> callback() {
    return [this](TextEvent event) {
      text += event.text;
      pieces.push_back(event.text);
      tokens.insert(tokens.end(), event.tokens.begin(), event.tokens.end());
      if (!event.prompt_logprobs.empty()) prompt_logprobs = event.prompt_logprobs;
      last = std::move(event);
      if (last.finish != nn::FinishReason::none) done.set_value();
    };
  }
  void wait() { ASSERT_EQ(done.get_future().wait_for(10s), std::future_status::ready); }
};

class TextGeneratorTest : public testing::Test {
 protected:
  TextGeneratorTest() {
    auto engine = std::make_unique<TestEngine>();
    engine_ = engine.get();
    generator_ = std::make_unique<TextGenerator>(std::move(engine), text::make_byte_tokenizer(),
                                                 TextGeneratorOptions{.max_requests = 4});
  }
  std::vector<TokenId> ids(std::string_view text) { return generator_->tokenizer().encode(text); }

  TestEngine* engine_;
  std::unique_ptr<TextGenerator> generator_;
};

TEST_F(TextGeneratorTest, GeneratesTextWithItsTokens) {
  Collected result;
  generator_->submit({.prompt = ids("abc"), .sampling = {.max_tokens = 5}, .on_event = result.callback()});
  result.wait();
  EXPECT_EQ(result.text, "abcab");
  EXPECT_EQ(result.last.finish, nn::FinishReason::length);
  ASSERT_EQ(result.tokens.size(), 5u);
  EXPECT_EQ(result.tokens[3].id, 'a');
  EXPECT_EQ(result.tokens[3].offset, 3u);
  EXPECT_EQ(result.tokens[3].logprob, -0.5);
  EXPECT_EQ(result.last.num_tokens, 5u);
}

TEST_F(TextGeneratorTest, EndsAtEndOfText) {
  Collected result;
  std::vector<TokenId> prompt = ids("hi");
  prompt.push_back(0);
  generator_->submit({.prompt = prompt, .sampling = {.max_tokens = 50}, .on_event = result.callback()});
  result.wait();
  EXPECT_EQ(result.text, "hi");
  EXPECT_EQ(result.last.finish, nn::FinishReason::stop);
  EXPECT_EQ(result.last.num_tokens, 2u);
}

TEST_F(TextGeneratorTest, StopsBeforeAStopStringAndDropsItsTokens) {
  Collected result;
  generator_->submit(
      {.prompt = ids("hello"), .sampling = {.max_tokens = 50}, .stop = {"lohe"}, .on_event = result.callback()});
  result.wait();
  EXPECT_EQ(result.text, "hel");
  EXPECT_EQ(result.last.finish, nn::FinishReason::stop);
  EXPECT_EQ(result.tokens.size(), 3u);
  EXPECT_EQ(result.last.num_tokens, 7u);
  for (const std::string& piece : result.pieces) EXPECT_EQ(piece.find("lo"), std::string::npos);
}

TEST_F(TextGeneratorTest, GivesOutWholeCharactersOnly) {
  Collected result;
  generator_->submit({.prompt = ids("\xe2\x82\xac"), .sampling = {.max_tokens = 7}, .on_event = result.callback()});
  result.wait();
  EXPECT_EQ(result.text, "\xe2\x82\xac\xe2\x82\xac\xef\xbf\xbd");
  for (const std::string& piece : result.pieces) {
    if (!piece.empty()) {
      EXPECT_TRUE(piece.front() == '\xe2' || piece.front() == '\xef');
    }
  }
  EXPECT_EQ(result.tokens.size(), 7u);
}

TEST_F(TextGeneratorTest, ScoresAPromptWithoutGenerating) {
  Collected result;
  generator_->submit(
      {.prompt = ids("abc"), .sampling = {.max_tokens = 0, .prompt_logprobs = true}, .on_event = result.callback()});
  result.wait();
  EXPECT_EQ(result.text, "");
  EXPECT_EQ(result.last.num_tokens, 0u);
  ASSERT_EQ(result.prompt_logprobs.size(), 3u);
  EXPECT_TRUE(std::isnan(result.prompt_logprobs[0]));
}

TEST_F(TextGeneratorTest, CutsTheAnswerToTheContext) {
  Collected result;
  generator_->submit(
      {.prompt = std::vector<TokenId>(120, 'x'), .sampling = {.max_tokens = 1000}, .on_event = result.callback()});
  result.wait();
  EXPECT_EQ(result.text, "xxxxxxxx");
  EXPECT_EQ(result.last.finish, nn::FinishReason::length);
}

TEST_F(TextGeneratorTest, RefusesPromptsThatDoNotFit) {
  const auto submit = [&](std::vector<TokenId> prompt) {
    generator_->submit({.prompt = std::move(prompt), .on_event = [](TextEvent) {}});
  };
  EXPECT_THROW(submit({}), Error);
  EXPECT_THROW(submit(std::vector<TokenId>(128, 'x')), Error);
  EXPECT_THROW(submit({300}), Error);
  EXPECT_EQ(generator_->num_requests(), 0u);
}

TEST_F(TextGeneratorTest, RunsRequestsTogether) {
  engine_->hold();
  std::vector<Collected> results(4);
  for (auto& result : results) {
    generator_->submit({.prompt = ids("ab"), .sampling = {.max_tokens = 20}, .on_event = result.callback()});
  }
  engine_->release();
  for (auto& result : results) {
    result.wait();
    EXPECT_EQ(result.text, "abababababababababab");
  }
  EXPECT_GT(engine_->largest_batch(), 1u);
  EXPECT_EQ(generator_->counts().num_generated_tokens, 80u);
}

TEST_F(TextGeneratorTest, RefusesMoreRequestsThanItsQueueHolds) {
  engine_->hold();
  std::vector<Collected> results(4);
  for (auto& result : results) generator_->submit({.prompt = ids("a"), .on_event = result.callback()});
  try {
    generator_->submit({.prompt = ids("a"), .on_event = [](TextEvent) {}});
    FAIL() << "queued";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::resource);
  }
  engine_->release();
  for (auto& result : results) result.wait();
}

TEST_F(TextGeneratorTest, CancelsARequest) {
  engine_->hold();
  Collected result;
  const auto id = generator_->submit({.prompt = ids("a"), .on_event = result.callback()});
  generator_->cancel(id);
  result.wait();
  EXPECT_EQ(result.last.finish, nn::FinishReason::cancelled);
  EXPECT_EQ(engine_->num_cancelled(), 1u);
  generator_->cancel(id);
  generator_->cancel(999);
}

TEST_F(TextGeneratorTest, EndsAllRequestsWhenTheEngineFails) {
  engine_->hold();
  Collected one, two;
  generator_->submit({.prompt = ids("a"), .on_event = one.callback()});
  generator_->submit({.prompt = ids("b"), .on_event = two.callback()});
  engine_->break_down();
  one.wait();
  two.wait();
  EXPECT_EQ(one.last.finish, nn::FinishReason::error);
  EXPECT_EQ(one.last.error, "broken on request");
  EXPECT_FALSE(generator_->is_healthy());
  EXPECT_THROW(generator_->submit({.prompt = ids("a"), .on_event = [](TextEvent) {}}), Error);
}

TEST_F(TextGeneratorTest, EndsRequestsAsCancelledWhenItGoes) {
  engine_->hold();
  Collected result;
  generator_->submit({.prompt = ids("a"), .on_event = result.callback()});
  generator_.reset();
  result.wait();
  EXPECT_EQ(result.last.finish, nn::FinishReason::cancelled);
}

}  // namespace
}  // namespace mobula::serve
