#include "mobula/train/checkpoint/checkpoint_store.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"

namespace mobula::train {
namespace {

namespace fs = std::filesystem;

class CheckpointStoreTest : public ::testing::Test {
 protected:
  void write(std::int64_t step, std::optional<std::int64_t> best = std::nullopt) {
    store_.write(step, best, [&](const fs::path& directory) {
      write_file_atomic(directory / "model.safetensors", "weights of " + std::to_string(step));
      write_file_atomic(directory / "trainer/state.json", "{}");
    });
  }
  std::optional<std::int64_t> newest() {
    damage_.clear();
    return store_.newest_whole([this](std::int64_t step, const std::string& reason) {
      damage_.push_back(std::to_string(step) + ": " + reason);
    });
  }
  fs::path link(const char* name) const { return fs::read_symlink(temporary_.path() / name); }

  TemporaryDirectory temporary_;
  CheckpointStore store_{RunFolder{temporary_.path()}, 2};
  std::vector<std::string> damage_;
};

TEST_F(CheckpointStoreTest, KeepsTheNewestAndTheBest) {
  EXPECT_EQ(newest(), std::nullopt);
  for (const std::int64_t step : {10, 20, 30, 40, 50}) write(step, 20);
  EXPECT_EQ(store_.steps(), (std::vector<std::int64_t>{50, 40, 20}));
  EXPECT_EQ(newest(), 50);
  EXPECT_EQ(link("last"), "checkpoints/step-00000050");
  EXPECT_EQ(link("best"), "checkpoints/step-00000020");
}

TEST_F(CheckpointStoreTest, PassesOverDamagedOnesAndSaysWhy) {
  write(10);
  write(20);
  std::ofstream(store_.directory(20) / "model.safetensors") << "Weights of 20";
  EXPECT_EQ(newest(), 10);
  ASSERT_EQ(damage_.size(), 1u);
  EXPECT_NE(damage_[0].find("20: model.safetensors is damaged"), std::string::npos) << damage_[0];
  fs::remove(store_.directory(20) / "model.safetensors");
  EXPECT_EQ(newest(), 10);
  EXPECT_NE(damage_[0].find("model.safetensors is missing"), std::string::npos) << damage_[0];
}

TEST_F(CheckpointStoreTest, RefusesWhenNoneIsWhole) {
  write(10);
  fs::resize_file(store_.directory(10) / "model.safetensors", 3);
  try {
    newest();
    FAIL() << "a truncated checkpoint was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::corrupt);
    EXPECT_NE(error.message().find("has 3 bytes, expected 13"), std::string::npos) << error.message();
  }
}

TEST_F(CheckpointStoreTest, LeavesEverythingAsItWasWhenWritingFails) {
  write(10, 10);
  EXPECT_THROW(store_.write(20, 20,
                            [](const fs::path& directory) {
                              write_file_atomic(directory / "model.safetensors", "half");
                              throw Error(ErrorCode::io, "no space left");
                            }),
               Error);
  EXPECT_EQ(store_.steps(), std::vector<std::int64_t>{10});
  EXPECT_EQ(link("last"), "checkpoints/step-00000010");
  EXPECT_EQ(std::distance(fs::directory_iterator(temporary_.path() / "checkpoints"), {}), 1);
}

TEST_F(CheckpointStoreTest, ReplacesADamagedCheckpointOfTheSameStep) {
  write(10);
  fs::resize_file(store_.directory(10) / "model.safetensors", 0);
  write(10);
  EXPECT_EQ(newest(), 10);
}

TEST_F(CheckpointStoreTest, RewindsToAStep) {
  write(10, 10);
  write(20, 20);
  fs::create_directories(temporary_.path() / "checkpoints/.unfinished-step-00000030/trainer");
  store_.rewind(10, 10);
  EXPECT_EQ(store_.steps(), std::vector<std::int64_t>{10});
  EXPECT_EQ(link("last"), "checkpoints/step-00000010");
  EXPECT_EQ(link("best"), "checkpoints/step-00000010");
  EXPECT_EQ(std::distance(fs::directory_iterator(temporary_.path() / "checkpoints"), {}), 1);
}

}  // namespace
}  // namespace mobula::train
