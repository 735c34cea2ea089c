#include "mobula/base/config.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

#include "mobula/base/error.hpp"

namespace mobula {
namespace {

enum class Color { red, green };

struct Inner {
  double lr = 0.5;
  int warmup = 3;
  void visit(ConfigVisitor& v) {
    v.field("lr", lr, "peak learning rate");
    v.field("warmup", warmup, "steps");
  }
};

struct Outer {
  std::string name = "run";
  bool fast = false;
  std::int64_t steps = 10;
  std::uint8_t small = 1;
  std::optional<double> limit;
  std::vector<std::string> files;
  std::vector<double> weights;
  Color color = Color::red;
  Inner train;
  void visit(ConfigVisitor& v) {
    v.field("name", name, "");
    v.field("fast", fast, "");
    v.field("steps", steps, "");
    v.field("small", small, "");
    v.field("limit", limit, "");
    v.field("files", files, "");
    v.field("weights", weights, "");
    v.choice("color", color, {{"red", Color::red}, {"green", Color::green}}, "a color");
    v.section("train", train, "training");
  }
  void validate() const {
    if (steps < 0) throw_invalid("steps is negative");
  }
};

Outer read(std::string_view text, const std::vector<std::string>& sets = {}) {
  Config config = Config::from_text(text, "test.yaml");
  for (const std::string& set : sets) config.set(set);
  Outer outer;
  config.read(outer);
  return outer;
}

void expect_error(std::string_view text, const std::vector<std::string>& sets, std::string_view message,
                  std::string_view hint) {
  try {
    read(text, sets);
    FAIL() << "accepted: " << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_NE(error.message().find(message), std::string::npos) << error.message();
    EXPECT_NE(error.hint().find(hint), std::string::npos) << error.hint();
  }
}

TEST(Config, KeepsDefaultsOfWhatIsNotWritten) {
  const Outer outer = read("");
  EXPECT_EQ(outer.name, "run");
  EXPECT_EQ(outer.steps, 10);
  EXPECT_FALSE(outer.limit.has_value());
}

TEST(Config, ReadsEveryType) {
  const Outer outer = read(
      "name: a b\nfast: yes\nsteps: 1_000\nsmall: 255\nlimit: 2.5\nfiles: [a, b]\nweights: [0.5, 2]\ncolor: green\n"
      "train: {lr: 1e-3}\n");
  EXPECT_EQ(outer.name, "a b");
  EXPECT_TRUE(outer.fast);
  EXPECT_EQ(outer.steps, 1000);
  EXPECT_EQ(outer.small, 255);
  EXPECT_EQ(outer.limit, 2.5);
  EXPECT_EQ(outer.files, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(outer.weights, (std::vector<double>{0.5, 2}));
  EXPECT_EQ(outer.color, Color::green);
  EXPECT_EQ(outer.train.lr, 1e-3);
  EXPECT_EQ(outer.train.warmup, 3);
}

TEST(Config, SetOverridesTheFileAndMakesSections) {
  const Outer outer = read("steps: 1\n", {"steps=7", "train.lr=0.25", "name=", "files=[x]"});
  EXPECT_EQ(outer.steps, 7);
  EXPECT_EQ(outer.train.lr, 0.25);
  EXPECT_EQ(outer.name, "");
  EXPECT_EQ(outer.files, std::vector<std::string>{"x"});
}

TEST(Config, SetWorksWithoutAFile) {
  Config config;
  for (const char* set : {"steps=7", "train.lr=0.25", "train.warmup=1"}) config.set(set);
  Outer outer;
  config.read(outer);
  EXPECT_EQ(outer.steps, 7);
  EXPECT_EQ(outer.train.lr, 0.25);
  EXPECT_EQ(outer.train.warmup, 1);
  EXPECT_EQ(read("# nothing but a comment\n", {"steps=8"}).steps, 8);
}

TEST(Config, RefusesUnknownKeysWithTheNearestName) {
  expect_error("name: a\nstesp: 3\n", {}, "test.yaml:2: unknown key 'stesp'", "did you mean 'steps'?");
  expect_error("train:\n  lrr: 3\n", {}, "test.yaml:2: unknown key 'train.lrr'", "did you mean 'lr'?");
  expect_error("", {"train.wamup=3"}, "unknown key 'train.wamup'", "did you mean 'warmup'?");
}

TEST(Config, NamesPlaceAndExpectationOfWrongTypes) {
  expect_error("steps: many\n", {}, "test.yaml:1: 'steps' is 'many', expected a whole number", "");
  expect_error("steps: 1.5\n", {}, "expected a whole number", "");
  expect_error("small: 256\n", {}, "'small' is 256, which is out of range", "");
  expect_error("name: [a]\n", {}, "'name' is a list, expected a text", "");
  expect_error("train: 3\n", {}, "'train' must be a section", "");
  expect_error("train: {lr: .nan}\n", {}, "expected a number", "");
  expect_error("fast: maybe\n", {}, "expected true or false", "");
  expect_error("color: grene\n", {}, "expected one of red, green", "did you mean 'green'?");
  expect_error("a: [\n", {}, "test.yaml:2", "check the YAML");
  expect_error("steps: -1\n", {}, "steps is negative", "");
}

TEST(Config, ExpandsEnvironmentVariables) {
  ::setenv("MOBULA_TEST_NAME", "seven", 1);
  ::unsetenv("MOBULA_TEST_MISSING");
  EXPECT_EQ(read("name: x${MOBULA_TEST_NAME}y").name, "xseveny");
  EXPECT_EQ(read("name: ${MOBULA_TEST_MISSING:-fall back}").name, "fall back");
  expect_error("name: ${MOBULA_TEST_MISSING}", {}, "environment variable MOBULA_TEST_MISSING is not set", ":-default");
}

TEST(Config, PrintsYamlThatReadsBackTheSame) {
  Outer outer = read("name: 'a: b # c'\nlimit: 0.1\nfiles: ['x, y', z]\ncolor: green\ntrain: {lr: 3e-4}\n");
  Outer again = read(config_to_yaml(outer));
  EXPECT_EQ(again.name, outer.name);
  EXPECT_EQ(again.limit, outer.limit);
  EXPECT_EQ(again.files, outer.files);
  EXPECT_EQ(again.color, outer.color);
  EXPECT_EQ(again.train.lr, outer.train.lr);
  EXPECT_EQ(config_to_list(outer), config_to_list(again));
}

}  // namespace
}  // namespace mobula
