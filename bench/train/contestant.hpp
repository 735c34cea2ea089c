/// Whoever takes part in the training benchmark: trains the same model on the same tokens, some steps at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/nn/precision.hpp"

namespace mobula::bench {

/// A model's shape and how it is trained.
struct TrainingCase {
  std::string name;
  std::int64_t layers, heads, width, context, vocabulary, batch;
  double lr = 1e-3;

  std::int64_t tokens_per_step() const { return batch * context; }
  /// Returns config.json of the model: GPT-2 without dropout.
  Json config() const;
};

/// Where everybody finds the model's first weights and the tokens.
struct TrainingInput {
  TrainingCase shape;
  nn::Precision precision = nn::Precision::fp32;
  int threads = 2;
  std::filesystem::path checkpoint;  ///< a folder in Hugging Face's layout
  std::filesystem::path tokens;      ///< int64 [num_steps, batch, context + 1]
  std::int64_t num_steps = 0;
};

/// The losses and times of some steps in a row.
struct StepRecord {
  std::vector<double> losses;
  std::vector<double> seconds;
};

class Contestant {
 public:
  virtual ~Contestant() = default;
  virtual const std::string& name() const = 0;
  /// Runs the next `count` steps.
  virtual StepRecord run(int count) = 0;
};

/// Mobula, in this process.
std::unique_ptr<Contestant> make_mobula(const TrainingInput& input);
/// PyTorch in a child process; `mode` is "eager" or "compile". Throws Error(unavailable) where it can't start.
std::unique_ptr<Contestant> make_torch(const TrainingInput& input, const std::string& mode);

}  // namespace mobula::bench
