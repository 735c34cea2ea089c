/// The checkpoints of a run: folders that are whole or absent, checked when read, pruned as new ones come.
///
///     checkpoints/step-00000250/{config.json, model.safetensors, ..., trainer/{state.json, optimizer.safetensors,
///     manifest.json}}
///     best -> checkpoints/step-00000250, last -> checkpoints/step-00000500
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "mobula/train/run/run_folder.hpp"

namespace mobula::train {

/// Reads and writes a run's checkpoints. One process writes at a time; any number may read.
class CheckpointStore {
 public:
  /// `keep` is the number of newest checkpoints that stay, beside the best.
  CheckpointStore(RunFolder folder, std::int64_t keep);

  /// Returns the folder of a step's checkpoint, whether or not it exists.
  std::filesystem::path directory(std::int64_t step) const;
  /// Returns the steps that have one, newest first.
  std::vector<std::int64_t> steps() const;

  /// Finds the newest checkpoint whose files are all there, with the sizes and SHA-256 of its manifest; `damaged` hears of
  /// those that are passed over. Nothing where there are none at all. Throws Error(corrupt) where all are damaged.
  std::optional<std::int64_t> newest_whole(
      const std::function<void(std::int64_t step, const std::string& reason)>& damaged) const;

  /// Writes a checkpoint: `fill` puts its files into the folder that it is given; then they are synced and listed in the
  /// manifest, the folder gets its name, the links `last` and (where `best_step` has one) `best` are set, and what is
  /// neither among the newest nor the best goes. When anything fails, what was there before is as it was.
  void write(std::int64_t step, std::optional<std::int64_t> best_step,
             const std::function<void(const std::filesystem::path&)>& fill);

  /// Makes the folder agree with a run that goes on from `step`: later checkpoints go, the links are set, and what a
  /// process left half-written is removed.
  void rewind(std::int64_t step, std::optional<std::int64_t> best_step);

 private:
  void set_links(std::int64_t step, std::optional<std::int64_t> best_step) const;
  void remove_unfinished() const;

  RunFolder folder_;
  std::int64_t keep_;
};

}  // namespace mobula::train
