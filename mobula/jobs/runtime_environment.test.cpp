#include "mobula/jobs/runtime_environment.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/subprocess.hpp"

namespace mobula::jobs {
namespace {

TEST(RuntimeEnvironment, IsReadFromYamlWithItsTypes) {
  const Json environment = parse_runtime_environment(
      "working_dir: ./app\nenv_vars:\n  A: \"1\"\n  B: text\nconfig: {setup_timeout_seconds: 300, eager: true, x: "
      "0.5}\n"
      "pip: [a, 'b']\nnothing:\n",
      "env.yaml");
  EXPECT_EQ(to_line(environment),
            R"({"working_dir":"./app","env_vars":{"A":"1","B":"text"},)"
            R"("config":{"setup_timeout_seconds":300,"eager":true,"x":0.5},"pip":["a","b"],"nothing":null})");
}

TEST(RuntimeEnvironment, IsReadFromTextOrFile) {
  EXPECT_EQ(read_runtime_environment(R"({"env_vars":{"A":"1"}})")["env_vars"]["A"], "1");
  EXPECT_EQ(to_line(read_runtime_environment("")), "{}");
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() / "e.yaml", "env_vars: {A: x}");
  EXPECT_EQ(read_runtime_environment((folder.path() / "e.yaml").string())["env_vars"]["A"], "x");
}

TEST(RuntimeEnvironment, RefusesWhatIsNone) {
  EXPECT_THROW(parse_runtime_environment("- a\n- b\n", "e"), Error);
  EXPECT_THROW(parse_runtime_environment("a: [1\nb: 2", "e"), Error);
  EXPECT_THROW(parse_runtime_environment("{\"a\": }", "e"), Error);
  EXPECT_THROW(read_runtime_environment("/nowhere/env.yaml"), Error);
  // Aliases that stand for a billion values.
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    bomb += fmt::format("a{}: &a{} [", i, i);
    for (int j = 0; j < 10; ++j) bomb += fmt::format("{}*a{}", j == 0 ? "" : ", ", i - 1);
    bomb += "]\n";
  }
  EXPECT_THROW(parse_runtime_environment(bomb, "e"), Error);
}

TEST(RuntimeEnvironment, KeepsVariablesThatWereGiven) {
  Json environment = parse_runtime_environment("env_vars: {A: mine}", "e");
  set_job_variable(environment, "A", "ours", false);
  set_job_variable(environment, "B", "ours", false);
  EXPECT_EQ(to_line(environment), R"({"env_vars":{"A":"mine","B":"ours"}})");
  set_job_variable(environment, "A", "later", true);
  EXPECT_EQ(environment["env_vars"]["A"], "later");
  EXPECT_THROW(set_job_variable(environment, "", "x", true), Error);
}

TEST(RuntimeEnvironment, IsShownWithoutTheValuesOfVariables) {
  const Json shown = redacted(parse_runtime_environment("env_vars: {TOKEN: hunter2}\nworking_dir: x", "e"));
  EXPECT_EQ(to_line(shown), R"({"env_vars":{"TOKEN":"<redacted>"},"working_dir":"x"})");
}

TEST(SplitAssignment, KeepsLaterEqualsSigns) {
  EXPECT_EQ(split_assignment("A=b=c", "--env"), (std::pair<std::string, std::string>{"A", "b=c"}));
  EXPECT_EQ(split_assignment("A=", "--env").second, "");
  EXPECT_THROW(split_assignment("A", "--env"), Error);
  EXPECT_THROW(split_assignment("=b", "--env"), Error);
}

TEST(ShellCommand, IsSplitIntoTheSameWords) {
  const std::vector<std::string> words{"/bin/printf", "[%s]", "plain", "two words", "it's", "$HOME", "",
                                       "a\"b",        "*",    "x;y",   "`z`"};
  EXPECT_EQ(shell_command({"build/bin/pi", "--engine=ray://auto"}), "build/bin/pi --engine=ray://auto");
  Subprocess shell({"/bin/sh", "-c", shell_command(words)}, {.capture_stdout = true});
  EXPECT_EQ(shell.read_line(), "[plain][two words][it's][$HOME][][a\"b][*][x;y][`z`]");
  EXPECT_EQ(shell.wait(), 0);
}

}  // namespace
}  // namespace mobula::jobs
