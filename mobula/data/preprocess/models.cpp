#include "mobula/data/preprocess/models.hpp"

#include <arrow/array.h>
#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_nested.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/compute/api_vector.h>
#include <arrow/datum.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/core/runtime.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/preprocess/columns.hpp"
#include "mobula/data/preprocess/known_library.hpp"
#include "mobula/data/rows/map_actors.hpp"

namespace mobula::data {
namespace {

constexpr const char* kFailure = "__failure";  ///< why a row has no answer, on its way from the model to the bad rows
constexpr std::size_t kShownBytes = 60;

struct KnownModels {
  std::mutex mutex;
  std::function<std::unique_ptr<LoadedModel>(const ModelOptions&)> load;
};

KnownModels& known_models() {
  static KnownModels instance;
  return instance;
}

std::string name_of(ModelTask task) {
  return task == ModelTask::embed ? "embed" : task == ModelTask::generate ? "generate" : "classify";
}

/// Returns the beginning of a text, for messages.
std::string beginning_of(std::string_view text) {
  if (text.size() <= kShownBytes) return std::string(text);
  std::size_t size = kShownBytes;
  while (size > 0 && (text[size] & 0xC0) == 0x80) --size;  // not inside a character
  return std::string(text.substr(0, size)) + "...";
}

}  // namespace

void ModelOptions::validate() const {
  const std::string name = name_of(task);
  if (model.empty()) throw_invalid(fmt::format("{}: no model", name), "name a checkpoint's folder");
  if (task != ModelTask::generate) return;
  if (max_tokens <= 0) throw_invalid(fmt::format("{}: max_tokens is {}", name, max_tokens), "at least 1 is expected");
  if (temperature < 0) throw_invalid(fmt::format("{}: temperature is {}", name, temperature), "0 is greedy");
  if (top_k < 0) throw_invalid(fmt::format("{}: top_k is {}", name, top_k), "0 keeps all");
  if (!(top_p > 0 && top_p <= 1)) throw_invalid(fmt::format("{}: top_p is {}", name, top_p), "(0, 1] is expected");
}

Json ModelOptions::to_json() const {
  return {{"task", name_of(task)}, {"model", model}, {"column", column},          {"into", into},
          {"dtype", dtype},        {"top_k", top_k}, {"max_tokens", max_tokens},  {"top_p", top_p},
          {"seed", seed},          {"stop", stop},   {"temperature", temperature}};
}

ModelOptions ModelOptions::from_json(const Json& json) {
  ModelOptions options;
  const auto task = json.at("task").get<std::string>();
  options.task = task == "embed" ? ModelTask::embed : task == "generate" ? ModelTask::generate : ModelTask::classify;
  json.at("model").get_to(options.model);
  json.at("column").get_to(options.column);
  json.at("into").get_to(options.into);
  json.at("dtype").get_to(options.dtype);
  json.at("max_tokens").get_to(options.max_tokens);
  json.at("temperature").get_to(options.temperature);
  json.at("top_k").get_to(options.top_k);
  json.at("top_p").get_to(options.top_p);
  json.at("seed").get_to(options.seed);
  json.at("stop").get_to(options.stop);
  return options;
}

void know_models(std::function<std::unique_ptr<LoadedModel>(const ModelOptions&)> load) {
  const std::lock_guard lock(known_models().mutex);
  known_models().load = std::move(load);
}

std::unique_ptr<LoadedModel> load_model(const ModelOptions& options) {
  std::function<std::unique_ptr<LoadedModel>(const ModelOptions&)> load;
  {
    const std::lock_guard lock(known_models().mutex);
    load = known_models().load;
  }
  if (load == nullptr) {
    throw Error(ErrorCode::unavailable, "this program knows no models",
                "link mobula::models, and say so to mobula::data (preprocess/models.hpp)");
  }
  return load(options);
}

/// Holds a model, and asks it about one batch after the other.
class ModelWorker {
 public:
  ModelWorker(const std::string& options, const std::string& library)
      : options_(ModelOptions::from_json(parse_json(options, "options of a model"))) {
    load_known_library(library);
    model_ = load_model(options_);
  }

  RecordBatchPointer operator()(const RecordBatchPointer& batch) {
    const auto column = batch->GetColumnByName(options_.column);
    const std::string name = name_of(options_.task);
    if (column == nullptr) {
      throw Error(ErrorCode::not_found, fmt::format("{}: no column '{}'", name, options_.column),
                  suggest(options_.column, batch->schema()->field_names()));
    }
    if (column->type_id() != arrow::Type::STRING) {
      throw_invalid(fmt::format("{}: column '{}' holds {}, and text is expected", name, options_.column,
                                column->type()->ToString()));
    }
    const auto& values = static_cast<const arrow::StringArray&>(*column);
    std::vector<std::string> texts;
    for (std::int64_t row = 0; row < values.length(); ++row) {
      if (values.IsValid(row)) texts.emplace_back(values.GetView(row));
    }
    const std::vector<ModelAnswer> answers = texts.empty() ? std::vector<ModelAnswer>() : model_->answer(texts);
    if (answers.size() != texts.size()) {
      throw_internal(fmt::format("{}: {} answers to {} texts", name, answers.size(), texts.size()));
    }
    std::vector<const ModelAnswer*> rows;
    arrow::StringBuilder failures;
    for (std::int64_t row = 0, next = 0; row < values.length(); ++row) {
      const ModelAnswer* answer = values.IsValid(row) ? &answers[static_cast<std::size_t>(next++)] : nullptr;
      const bool failed = answer != nullptr && !answer->error.empty();
      check(failed ? failures.Append(fmt::format("{}: '{}'", answer->error, beginning_of(values.GetView(row))))
                   : failures.AppendNull(),
            name);
      rows.push_back(failed ? nullptr : answer);
    }
    RecordBatchPointer result = batch;
    const std::string into = !options_.into.empty()                 ? options_.into
                             : options_.task == ModelTask::embed    ? "embedding"
                             : options_.task == ModelTask::generate ? "generated"
                                                                    : "label";
    switch (options_.task) {
      case ModelTask::embed:
        result = with_column(result, into, vectors(rows));
        break;
      case ModelTask::generate:
        result = with_column(result, into, texts_of_answers(rows, &ModelAnswer::text));
        result = with_column(result, "finish_reason", texts_of_answers(rows, &ModelAnswer::finish_reason));
        break;
      case ModelTask::classify:
        result = with_labels(result, into, rows);
        break;
    }
    return with_column(result, kFailure, take(failures.Finish(), name));
  }

 private:
  std::shared_ptr<arrow::Array> vectors(const std::vector<const ModelAnswer*>& rows) const {
    const std::int64_t length = model_->dimension();
    auto values = std::make_shared<arrow::FloatBuilder>();
    arrow::FixedSizeListBuilder lists(arrow::default_memory_pool(), values, static_cast<std::int32_t>(length));
    for (const ModelAnswer* answer : rows) {
      if (answer == nullptr) {
        check(lists.AppendNull(), "embed");
        continue;
      }
      if (static_cast<std::int64_t>(answer->values.size()) != length)
        throw_internal(fmt::format("embed: {} numbers where {} are promised", answer->values.size(), length));
      check(lists.Append(), "embed");
      check(values->AppendValues(answer->values), "embed");
    }
    return take(lists.Finish(), "embed");
  }
  static std::shared_ptr<arrow::Array> texts_of_answers(const std::vector<const ModelAnswer*>& rows,
                                                        std::string ModelAnswer::*member) {
    arrow::StringBuilder builder;
    for (const ModelAnswer* answer : rows)
      check(answer == nullptr ? builder.AppendNull() : builder.Append(answer->*member), "generate");
    return take(builder.Finish(), "generate");
  }
  RecordBatchPointer with_labels(const RecordBatchPointer& batch, const std::string& into,
                                 const std::vector<const ModelAnswer*>& rows) const {
    const std::vector<std::string> labels = model_->labels();
    arrow::StringBuilder names;
    arrow::FloatBuilder probabilities;
    for (const ModelAnswer* answer : rows) {
      if (answer == nullptr) {
        check(names.AppendNull(), "classify");
        check(probabilities.AppendNull(), "classify");
        continue;
      }
      const auto best = std::max_element(answer->values.begin(), answer->values.end());
      const auto index = static_cast<std::size_t>(best - answer->values.begin());
      if (index >= labels.size()) throw_internal(fmt::format("classify: {} labels", labels.size()));
      check(names.Append(labels[index]), "classify");
      check(probabilities.Append(*best), "classify");
    }
    return with_column(with_column(batch, into, take(names.Finish(), "classify")), "probability",
                       take(probabilities.Finish(), "classify"));
  }

  ModelOptions options_;
  std::unique_ptr<LoadedModel> model_;
};

Dataset run_model(const Dataset& dataset, ModelOptions options, ModelPoolOptions pool) {
  options.validate();
  const std::string name = name_of(options.task);
  if (pool.max_actors <= 0) throw_invalid(fmt::format("{}: {} actors", name, pool.max_actors));
  if (pool.batch_size <= 0) throw_invalid(fmt::format("{}: batches of {} rows", name, pool.batch_size));
  // Workers may run elsewhere.
  options.model = std::filesystem::absolute(options.model).string();
  const Dataset answered = map_batches_actors<ModelWorker>(
      dataset, std::function<Runtime*()>([] { return &Runtime::current(); }),
      {.max_actors = pool.max_actors, .actor = pool.actor, .name = name, .batch_size = pool.batch_size},
      options.to_json().dump(), known_library());
  return answered.map_rows(
      [](const RecordBatchPointer& batch, const FailRow& fail) {
        const auto column = batch->GetColumnByName(kFailure);
        const auto& failures = static_cast<const arrow::StringArray&>(*column);
        const RecordBatchPointer rest = without_column(batch, kFailure);
        if (failures.null_count() == failures.length()) return rest;
        arrow::Int64Builder kept;
        for (std::int64_t row = 0; row < failures.length(); ++row) {
          if (failures.IsNull(row)) {
            check(kept.Append(row), "answers");
          } else {
            fail(row, Error(ErrorCode::invalid_argument, std::string(failures.GetView(row))));
          }
        }
        return take(arrow::compute::Take(rest, take(kept.Finish(), "answers")), "answers").record_batch();
      },
      {.name = name, .keeps_rows = true});
}

}  // namespace mobula::data
