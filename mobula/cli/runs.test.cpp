#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/subprocess.hpp"
#include "mobula/track/run.hpp"

namespace mobula::cli {
namespace {

namespace fs = std::filesystem;

/// Runs build/bin/mobula against a store of two runs.
class RunsCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    auto store = track::Store::open(file());
    for (const auto& [name, lr, loss] : {std::tuple{"first", "0.001", 2.0}, {"second", "0.0003", 2.5}}) {
      auto run = store->start_run(name, directory_.path() / name);
      run->log_params({{"train.lr", lr}, {"train.steps", "2"}});
      run->log_metric("loss", 1, 4.0);
      run->log_metric("loss", 2, loss);
      run->log_metric("val_loss", 2, loss + 0.25);
    }
  }
  fs::path file() const { return directory_.path() / "mobula.db"; }

  std::string output(std::vector<std::string> arguments, int expected_exit = 0) {
    arguments.insert(arguments.begin(), {MOBULA_PROGRAM, "runs"});
    Subprocess program(arguments, {.capture_stdout = true,
                                   .discard_stderr = expected_exit != 0,
                                   .environment = {{"MOBULA_TRACK", file().string()}}});
    std::string text;
    while (const auto line = program.read_line()) text += *line + "\n";
    EXPECT_EQ(program.wait(), expected_exit) << text;
    return text;
  }

  TemporaryDirectory directory_;
};

TEST_F(RunsCommandTest, ListsTheNewestFirst) {
  const std::string text = output({"list"});
  EXPECT_LT(text.find("second"), text.find("first"));
  EXPECT_NE(text.find("finished"), std::string::npos);
  const Json runs = parse_json(output({"list", "--json", "--limit", "1"}), "output");
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0]["name"], "second");
  EXPECT_EQ(runs[0]["metrics"]["val_loss"]["last"], 2.75);
}

TEST_F(RunsCommandTest, ShowsARunByNameFolderAndBeginning) {
  const Json run = parse_json(output({"show", "first", "--json"}), "output");
  EXPECT_EQ(run["params"]["train.lr"], "0.001");
  EXPECT_EQ(run["metrics"]["loss"]["min_step"], 2);
  const std::string id = run["id"];
  EXPECT_NE(output({"show", id.substr(0, 8)}).find("train.steps  2"), std::string::npos);
  EXPECT_NE(output({"show", (directory_.path() / "first").string()}).find(id), std::string::npos);
}

TEST_F(RunsCommandTest, ComparesDifferingParametersFirst) {
  const std::string text = output({"compare", "first", "second", "--all"});
  EXPECT_LT(text.find("train.lr"), text.find("train.steps"));
  EXPECT_NE(text.find("val_loss, best"), std::string::npos);
  EXPECT_EQ(output({"compare", "first", "second"}).find("train.steps"), std::string::npos);
  const Json result = parse_json(output({"compare", "first", "second", "--json"}), "output");
  EXPECT_EQ(result["differing"]["train.lr"], Json({"0.001", "0.0003"}));
  EXPECT_EQ(result["same"]["train.steps"], "2");
}

TEST_F(RunsCommandTest, PlotsIntoTheRunsFolder) {
  EXPECT_EQ(output({"plot", "first"}), (directory_.path() / "first/loss.svg").string() + "\n");
  EXPECT_NE(read_file(directory_.path() / "first/loss.svg").find("<polyline"), std::string::npos);
  const fs::path out = directory_.path() / "both.svg";
  output({"plot", "first", "second", "--metric", "val_loss", "--out", out.string()});
  EXPECT_NE(read_file(out).find("second"), std::string::npos);
}

TEST_F(RunsCommandTest, FailsWithOneClearLine) {
  output({"show", "nothing"}, 1);
  output({"plot", "first", "--metric", "nothing"}, 1);
  output({"compare", "first"}, 2);
  output({"list", "--store", "/nonexistent/store.db"}, 1);
}

}  // namespace
}  // namespace mobula::cli
