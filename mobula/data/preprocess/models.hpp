/// Models that work on rows: batch inference as steps of a pipeline.
///
///     auto answers = run_model(questions, {.task = ModelTask::generate, .model = "model/", .max_tokens = 64}, {.max_actors = 2});
///
/// Models belong to a layer that this one does not see: who knows them says so once, by know_models(); `mobula data` does.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/core/options.hpp"
#include "mobula/data/dataset.hpp"

namespace mobula::data {

/// What a model makes of a text: embed a vector, generate its continuation, classify a label.
enum class ModelTask { embed, generate, classify };

struct ModelOptions {
  ModelTask task = ModelTask::embed;
  std::string model;            ///< a checkpoint's folder; for generate a GGUF file too
  std::string column = "text";  ///< of strings; null gives null
  std::string into;             ///< the column that is made; empty: embedding, generated, label
  std::string dtype;            ///< fp32, bf16, for generate int8 or int4; empty: the checkpoint's own
  // generate:
  std::int64_t max_tokens = 128;
  double temperature = 1.0;  ///< 0 is greedy
  std::int64_t top_k = 0;    ///< 0 keeps all
  double top_p = 1.0;
  std::uint64_t seed = 0;  ///< of each row: a text is continued the same way wherever it stands
  std::vector<std::string> stop;

  /// Throws Error(invalid_argument) naming what is out of range.
  void validate() const;
  Json to_json() const;
  static ModelOptions from_json(const Json& json);
};

/// What came of one text.
struct ModelAnswer {
  std::vector<float> values;  ///< embed: the vector; classify: a probability for each label
  std::string text;           ///< generate
  std::string finish_reason;  ///< generate: stop or length
  std::string error;          ///< why there is nothing; empty: all went well
};

/// A model in memory. One thread uses it at a time.
class LoadedModel {
 public:
  virtual ~LoadedModel() = default;
  /// Returns the length of embeddings.
  virtual std::int64_t dimension() const { return 0; }
  /// Returns the names of classes.
  virtual std::vector<std::string> labels() const { return {}; }
  /// Works on some texts at a time; gives as many answers.
  virtual std::vector<ModelAnswer> answer(const std::vector<std::string>& texts) = 0;
};

/// Sets how models are loaded.
void know_models(std::function<std::unique_ptr<LoadedModel>(const ModelOptions& options)> load);
/// Loads a model. Throws Error(unavailable) where nobody knows models.
std::unique_ptr<LoadedModel> load_model(const ModelOptions& options);

/// How the actors that hold a model are made.
struct ModelPoolOptions {
  int max_actors = 1;
  std::int64_t batch_size = 64;  ///< rows of a call
  /// Resources and isolation of each. One that dies is made anew and given its batch again, three times in all.
  ActorOptions actor{.max_restarts = 3, .max_task_retries = 3};
};

/// Gives each row what a model makes of its text: `into`, with generate also finish_reason, with classify probability. The
/// model is loaded in actors of Runtime::current(), which must live while the dataset runs. A text on which it fails (one that
/// is longer than its context) is a bad row.
Dataset run_model(const Dataset& dataset, ModelOptions options, ModelPoolOptions pool = {});

}  // namespace mobula::data
