#include "mobula/data/preprocess/preprocessor.hpp"

#include <arrow/record_batch.h>
#include <fmt/format.h>

#include <map>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/take_rows.hpp"
#include "mobula/data/operators/failing_rows.hpp"
#include "mobula/data/preprocess/columns.hpp"

namespace mobula::data {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 30;

class Chain : public Preprocessor {
 public:
  explicit Chain(std::vector<PreprocessorPointer> parts) : parts_(std::move(parts)) {}
  void fit(const Dataset& dataset, const RunOptions& options) override {
    Dataset rows = dataset;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      parts_[i]->fit(rows, options);
      if (i + 1 < parts_.size()) rows = parts_[i]->transform(rows);
    }
  }
  using Preprocessor::transform;
  RecordBatchPointer transform(const RecordBatchPointer& batch) const override {
    RecordBatchPointer changed = batch;
    for (const auto& part : parts_) changed = part->transform(changed);
    return changed;
  }
  Json to_json() const override {
    Json parts = Json::array();
    for (const auto& part : parts_) parts.push_back(part->to_json());
    return {{"kind", "chain"}, {"parts", std::move(parts)}};
  }

 private:
  std::vector<PreprocessorPointer> parts_;
};

/// Transforms a batch without the rows on which that fails.
RecordBatchPointer transform_rows(const Preprocessor& preprocessor, const RecordBatchPointer& batch,
                                  const FailRow& fail) {
  RecordBatchPointer result;
  std::vector<std::int64_t> failed;
  find_failing_rows(
      batch->num_rows(),
      [&](std::int64_t begin, std::int64_t end) {
        result =
            preprocessor.transform(begin == 0 && end == batch->num_rows() ? batch : batch->Slice(begin, end - begin));
      },
      [&](std::int64_t row, const std::exception& error) {
        fail(row, error);
        failed.push_back(row);
      });
  if (failed.empty()) return result;
  return preprocessor.transform(take_rows(batch, rows_without(failed, batch->num_rows()), "preprocess"));
}

PreprocessorPointer read_chain(const Json& json) {
  std::vector<PreprocessorPointer> parts;
  for (const Json& part : json.at("parts")) parts.push_back(Preprocessor::from_json(part));
  return preprocess_chain(std::move(parts));
}

}  // namespace

PreprocessorPointer preprocess_chain(std::vector<PreprocessorPointer> parts) {
  return std::make_shared<Chain>(std::move(parts));
}

Dataset Preprocessor::transform(const Dataset& dataset) const {
  // What was learnt is copied: a later fit() does not change datasets that were made before.
  const auto frozen = from_json(to_json());
  MapOptions options;
  options.name = to_json().at("kind").get<std::string>();
  options.keeps_rows = true;
  return dataset.map_rows(
      [frozen](const RecordBatchPointer& batch, const FailRow& fail) { return transform_rows(*frozen, batch, fail); },
      options);
}

Dataset Preprocessor::fit_transform(const Dataset& dataset, const RunOptions& options) {
  fit(dataset, options);
  return transform(dataset);
}

void Preprocessor::save(const std::filesystem::path& path) const {
  write_file_atomic(path, to_json().dump(1) + "\n");
}

PreprocessorPointer Preprocessor::load(const std::filesystem::path& path) {
  const Json json = parse_json(read_file(path, kMaxFileBytes), path.string());
  try {
    return from_json(json);
  } catch (const Error& error) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: {}", path.string(), error.message()), error.hint());
  }
}

PreprocessorPointer Preprocessor::from_json(const Json& json) {
  using Read = PreprocessorPointer (*)(const Json&);
  static const std::map<std::string, Read> kinds = {{"chain", read_chain},
                                                    {"standard_scaler", read_scaler},
                                                    {"min_max_scaler", read_scaler},
                                                    {"max_abs_scaler", read_scaler},
                                                    {"robust_scaler", read_scaler},
                                                    {"normalizer", read_normalizer},
                                                    {"imputer", read_imputer},
                                                    {"binner", read_binner},
                                                    {"ordinal_encoder", read_encoder},
                                                    {"one_hot_encoder", read_encoder},
                                                    {"multi_hot_encoder", read_encoder},
                                                    {"label_encoder", read_label_encoder},
                                                    {"count_vectorizer", read_vectorizer},
                                                    {"tfidf_vectorizer", read_vectorizer},
                                                    {"hashing_vectorizer", read_vectorizer},
                                                    {"concatenator", read_concatenator},
                                                    {"tokenizer", read_tokenizer},
                                                    {"chat", read_chat},
                                                    {"image", read_image},
                                                    {"function", read_function}};
  try {
    const std::string kind = json.at("kind").get<std::string>();
    const auto found = kinds.find(kind);
    if (found == kinds.end()) {
      std::vector<std::string> names;
      for (const auto& [name, read] : kinds) names.push_back(name);
      throw Error(ErrorCode::corrupt, fmt::format("unknown preprocessor '{}'", kind), suggest(kind, names));
    }
    return found->second(json);
  } catch (const Json::exception& error) {
    throw Error(ErrorCode::corrupt, fmt::format("not a saved preprocessor: {}", error.what()));
  }
}

}  // namespace mobula::data
