/// What `mobula train` reads from its YAML file and from --set: one struct a section, defaults in place.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "mobula/base/config.hpp"

namespace mobula::train {

/// How a model is spread over workers.
enum class Strategy {
  ddp,  ///< every worker holds parameters, gradients and optimizer state; gradients are summed
};

struct DataConfig {
  std::string path;    ///< empty: tiny Shakespeare
  std::string format;  ///< text, jsonl, csv, parquet; empty: by the extension
  std::string column = "text";
  double validation = 0.1;  ///< share of the tokens, at the end
  void visit(ConfigVisitor& visitor);
  void validate() const;
};

struct ModelConfig {
  std::string family = "gpt2";
  std::string from;  ///< checkpoint folder to start from; empty: random weights
  std::int64_t layers = 4;
  std::int64_t heads = 4;
  std::int64_t hidden = 128;
  void visit(ConfigVisitor& visitor);
  void validate() const;
};

struct TokenizerConfig {
  std::string kind = "char";  ///< byte, char, bpe
  std::string path;           ///< tokenizer.json or its folder, instead of one made from the text
  std::int64_t vocab_size = 2048;
  void visit(ConfigVisitor& visitor);
  void validate() const;
};

struct LoopConfig {
  std::int64_t steps = 2000;
  std::int64_t batch_size = 12;  ///< sequences a step over all workers
  std::int64_t micro_batch = 0;  ///< sequences a worker's forward; 0: all of its share at once
  std::int64_t context = 64;
  double lr = 1e-3;
  double min_lr = 1e-4;
  std::int64_t warmup = 100;
  std::int64_t decay_steps = 0;  ///< 0: train.steps
  double weight_decay = 0.1;
  double beta1 = 0.9;
  double beta2 = 0.99;
  double epsilon = 1e-8;
  double grad_clip = 1.0;  ///< 0: none
  double dropout = 0.0;
  std::uint64_t seed = 1337;
  std::string precision = "fp32";  ///< fp32, bf16
  std::int64_t eval_every = 250;   ///< 0: only after the last step
  void visit(ConfigVisitor& visitor);
  void validate() const;
};

struct ScalingConfig {
  int workers = 1;
  Strategy strategy = Strategy::ddp;
  int threads = 0;       ///< of each worker; 0: the cores, divided among the workers
  int max_restarts = 3;  ///< one after the other without a new step
  void visit(ConfigVisitor& visitor);
  void validate() const;
};

struct CheckpointConfig {
  std::int64_t every = 250;  ///< steps; 0: only after the last step
  std::int64_t keep = 2;     ///< newest ones, beside the best
  void visit(ConfigVisitor& visitor);
  void validate() const;
};

/// The whole file.
struct RunConfig {
  DataConfig data;
  ModelConfig model;
  TokenizerConfig tokenizer;
  LoopConfig train;
  ScalingConfig scaling;
  CheckpointConfig checkpoint;
  void visit(ConfigVisitor& visitor);
  /// Throws Error(invalid_argument) that names the key, what it is and what it must be.
  void validate() const;
};

/// Returns the keys in which two configurations differ, as (key, old value, new value), leaving out those that a resumed
/// run may change: train.steps, scaling.*, checkpoint.*.
struct ConfigChange {
  std::string key;
  std::string before;
  std::string after;
};
std::vector<ConfigChange> forbidden_changes(const RunConfig& before, const RunConfig& after);

}  // namespace mobula::train
