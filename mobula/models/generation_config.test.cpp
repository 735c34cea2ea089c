#include "mobula/models/generation_config.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"

namespace mobula::models {
namespace {

class GenerationConfig : public testing::Test {
 protected:
  nn::SamplingDefaults read(const std::string& text) {
    write_file_atomic(path_, text);
    return read_sampling_defaults(path_);
  }

  TemporaryDirectory folder_;
  std::filesystem::path path_ = folder_.path() / "generation_config.json";
};

TEST_F(GenerationConfig, GivesTheSamplingItNames) {
  const nn::SamplingDefaults defaults = read(
      R"({"do_sample":true,"temperature":0.6,"top_k":20,"top_p":0.9,"min_p":0.05,"typical_p":0.8,"repetition_penalty":1.05,
          "no_repeat_ngram_size":3,"max_new_tokens":99,"bos_token_id":1,"num_beams":4,"transformers_version":"4.51.0"})");
  EXPECT_EQ(defaults.sampling.temperature, 0.6);
  EXPECT_EQ(defaults.sampling.top_k, 20u);
  EXPECT_EQ(defaults.sampling.top_p, 0.9);
  EXPECT_EQ(defaults.sampling.min_p, 0.05);
  EXPECT_EQ(defaults.sampling.typical_p, 0.8);
  EXPECT_EQ(defaults.sampling.repetition_penalty, 1.05);
  EXPECT_EQ(defaults.sampling.no_repeat_ngram, 3u);
  EXPECT_EQ(defaults.max_tokens, 99u);
}

TEST_F(GenerationConfig, ChangesNothingThatItDoesntName) {
  const nn::SamplingDefaults defaults = read(R"({"eos_token_id":[2,7],"temperature":null,"top_k":null})");
  EXPECT_EQ(defaults.sampling.temperature, 1);
  EXPECT_EQ(defaults.sampling.top_k, 0u);
  EXPECT_EQ(defaults.sampling.top_p, 1);
  EXPECT_FALSE(defaults.max_tokens.has_value());
  EXPECT_TRUE(load_generation_config(folder_.path() / "none").empty());
}

TEST_F(GenerationConfig, IsGreedyWithoutSampling) {
  const nn::SamplingDefaults defaults = read(R"({"do_sample":false,"temperature":0.9,"top_p":0.6,"top_k":-1})");
  EXPECT_EQ(defaults.sampling.temperature, 0);
  EXPECT_EQ(defaults.sampling.top_p, 0.6);
  EXPECT_EQ(defaults.sampling.top_k, 0u);
}

TEST_F(GenerationConfig, NamesFileAndKeyOfABadValue) {
  for (const auto& [key, value] : {std::pair{"temperature", "-1"},
                                   {"temperature", "\"hot\""},
                                   {"top_p", "0"},
                                   {"top_p", "1.5"},
                                   {"min_p", "[0.1]"},
                                   {"typical_p", "2"},
                                   {"repetition_penalty", "0"},
                                   {"repetition_penalty", "1e31"},
                                   {"top_k", "0.5"},
                                   {"top_k", "-2"},
                                   {"no_repeat_ngram_size", "-1"},
                                   {"max_new_tokens", "0"},
                                   {"do_sample", "\"no\""}}) {
    try {
      read(std::string("{\"") + key + "\":" + value + "}");
      ADD_FAILURE() << key << " " << value;
    } catch (const Error& error) {
      EXPECT_TRUE(error.message().starts_with(path_.string() + ": " + key + " is ")) << error.message();
    }
  }
  EXPECT_THROW(read("[]"), Error);
  EXPECT_THROW(read("{"), Error);
}

}  // namespace
}  // namespace mobula::models
