#include "mobula/train/run/run_folder.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "mobula/base/files.hpp"

namespace mobula::train {
namespace {

TEST(LineFile, WritesNumbersThatRoundTripAndNullForWhatIsNotFinite) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "metrics.jsonl";
  const double third = 1.0 / 3;
  {
    LineFile file(path);
    file.append({{"step", 1}, {"loss", third}});
    file.append({{"step", 2}, {"loss", std::numeric_limits<double>::quiet_NaN()}});
  }
  {
    LineFile file(path);
    file.append({{"step", 3}, {"loss", std::numeric_limits<double>::infinity()}});
  }
  const std::string text = read_file(path);
  EXPECT_EQ(Json::parse(text.substr(0, text.find('\n'))).at("loss").get<double>(), third);
  EXPECT_NE(text.find("{\"step\":2,\"loss\":null}\n{\"step\":3,\"loss\":null}\n"), std::string::npos) << text;
}

TEST(CutMetrics, KeepsTheLinesUpToAStep) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "metrics.jsonl";
  const std::string head = "{\"step\":1,\"loss\":2}\n{\"step\":2,\"loss\":1}\n{\"step\":2,\"val_loss\":1}\n";
  write_file_atomic(path, head + "{\"step\":3,\"loss\":1}\n{\"step\":4,\"lo");
  cut_metrics(path, 2);
  EXPECT_EQ(read_file(path), head);
  cut_metrics(path, 100);
  EXPECT_EQ(read_file(path), head);
  cut_metrics(path, 0);
  EXPECT_EQ(read_file(path), "");
  cut_metrics(folder.path() / "none.jsonl", 1);
}

TEST(CutMetrics, DropsDamagedLinesAndWhatStandsBehindThem) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "metrics.jsonl";
  write_file_atomic(path, "{\"step\":1,\"loss\":2}\n{\"step\":\n{\"step\":2,\"loss\":1}\n");
  cut_metrics(path, 5);
  EXPECT_EQ(read_file(path), "{\"step\":1,\"loss\":2}\n");
}

TEST(RunFolder, HoldsARunOnceItsConfigurationIsThere) {
  const TemporaryDirectory temporary;
  const RunFolder folder{temporary.path()};
  EXPECT_FALSE(folder.holds_run());
  write_file_atomic(folder.config(), "train: {steps: 1}\n");
  EXPECT_TRUE(folder.holds_run());
}

TEST(Workers, AreListedByRankPidAndHost) {
  const TemporaryDirectory temporary;
  const RunFolder folder{temporary.path()};
  write_workers(folder.workers(), {11, 12}, "node7");
  const Json list = Json::parse(read_file(folder.workers()));
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[1].at("rank"), 1);
  EXPECT_EQ(list[1].at("pid"), 12);
  EXPECT_EQ(list[1].at("host"), "node7");
}

}  // namespace
}  // namespace mobula::train
