/// Writes checkpoints off the training thread: training waits for a copy in memory, never for the disk.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/nn/module.hpp"
#include "mobula/train/checkpoint/checkpoint_store.hpp"

namespace mobula::train {

/// Writes the model's own files (config.json, model.safetensors, tokenizer ...) into a checkpoint's folder. Runs on the
/// writer's thread.
using ModelWriter =
    std::function<void(const std::filesystem::path& directory, const std::vector<nn::NamedTensor>& parameters)>;

/// One thread that writes one checkpoint at a time. Used by one other thread.
class CheckpointWriter {
 public:
  /// `failed` is told on the writer's thread why a checkpoint could not be written; training goes on.
  CheckpointWriter(CheckpointStore& store, ModelWriter write_model,
                   std::function<void(std::int64_t step, const std::string& reason)> failed);
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;
  /// Waits for the checkpoint that is being written.
  ~CheckpointWriter();

  /// Copies the tensors and hands the copy to the thread, after waiting for the checkpoint before this one.
  void save(std::int64_t step, std::optional<std::int64_t> best_step, const std::vector<nn::NamedTensor>& parameters,
            const std::vector<nn::NamedTensor>& optimizer, const Json& state);
  /// Waits for the last checkpoint handed over. Throws what its writing failed with.
  void wait();

 private:
  struct Job {
    std::int64_t step = 0;
    std::optional<std::int64_t> best_step;
    std::vector<nn::NamedTensor> parameters;
    std::vector<nn::NamedTensor> optimizer;
    Json state;
  };

  void run();
  void write(const Job& job);
  void wait_until_idle(std::unique_lock<std::mutex>& lock);
  static void copy(const std::vector<nn::NamedTensor>& from, std::vector<nn::NamedTensor>& to);

  CheckpointStore& store_;
  ModelWriter write_model_;
  std::function<void(std::int64_t, const std::string&)> failed_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Job job_;  ///< its tensors are written over by the next save()
  bool busy_ = false;
  bool stopping_ = false;
  std::exception_ptr failure_;  ///< of the last checkpoint
  std::thread thread_;
};

}  // namespace mobula::train
