// Vectorizers: what turns texts into vectors of their words.
#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <unordered_map>
#include <unordered_set>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/expressions/string_kernels.hpp"
#include "mobula/data/preprocess/columns.hpp"
#include "mobula/data/preprocess/preprocessor.hpp"
#include "mobula/data/preprocess/words.hpp"

namespace mobula::data {
namespace {

constexpr std::int64_t kMaxFeatures = std::int64_t{1} << 24;

/// Calls `use(row, word)` for each word of a column's texts.
template <class Use>
void for_each_word(const RecordBatchPointer& batch, const std::string& column, bool lowercase, const WordFinder& finder,
                   Use use) {
  std::shared_ptr<arrow::Array> values = texts_of(batch, column);
  if (lowercase) values = change_case(values, false);
  const auto& texts = static_cast<const arrow::StringArray&>(*values);
  for (std::int64_t row = 0; row < texts.length(); ++row) {
    if (texts.IsNull(row)) continue;
    finder.for_each(texts.GetView(row), [&](std::string_view word) { use(static_cast<std::size_t>(row), word); });
  }
}

/// Makes each vector of `width` numbers one of length 1; those of zeros stay.
void normalize(std::vector<double>& vectors, std::size_t width) {
  for (std::size_t begin = 0; begin < vectors.size(); begin += width) {
    double squares = 0;
    for (std::size_t i = begin; i < begin + width; ++i) squares += vectors[i] * vectors[i];
    if (squares == 0) continue;
    for (std::size_t i = begin; i < begin + width; ++i) vectors[i] /= std::sqrt(squares);
  }
}

class Vectorizer : public Preprocessor {
 public:
  Vectorizer(std::string kind, std::string column, std::string output, VectorizerOptions options)
      : kind_(std::move(kind)), column_(std::move(column)), output_(std::move(output)), options_(options) {}
  explicit Vectorizer(const Json& json)
      : Vectorizer(json.at("kind").get<std::string>(), json.at("column").get<std::string>(),
                   json.at("output").get<std::string>(),
                   {json.at("max_features").get<std::int64_t>(), json.at("min_documents").get<std::int64_t>(),
                    json.at("lowercase").get<bool>()}) {
    words_ = json.at("words").get<std::vector<std::string>>();
    weights_ = json.at("weights").get<std::vector<double>>();
    if (weights_.size() != words_.size())
      throw Error(ErrorCode::corrupt, fmt::format("{}: not a weight a word", kind_));
    index_words();
  }

  void fit(const Dataset& dataset, const RunOptions& options) override {
    struct Figures {
      std::int64_t times = 0;
      std::int64_t documents = 0;
      std::int64_t last_document = -1;
    };
    std::unordered_map<std::string, Figures> found;
    std::int64_t num_documents = 0;
    dataset.for_each(
        [&](const RecordBatchPointer& batch) {
          for_each_word(batch, column_, options_.lowercase, finder_, [&](std::size_t row, std::string_view word) {
            Figures& figures = found[std::string(word)];
            const std::int64_t document = num_documents + static_cast<std::int64_t>(row);
            ++figures.times;
            figures.documents += figures.last_document != document;
            figures.last_document = document;
          });
          num_documents += batch->num_rows();
          return true;
        },
        options);
    std::vector<std::pair<std::string, Figures>> kept;
    for (const auto& entry : found) {
      if (entry.second.documents >= options_.min_documents) kept.push_back(entry);
    }
    std::sort(kept.begin(), kept.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    if (options_.max_features > 0 && static_cast<std::int64_t>(kept.size()) > options_.max_features) {
      std::stable_sort(kept.begin(), kept.end(),
                       [](const auto& a, const auto& b) { return a.second.times > b.second.times; });
      kept.resize(static_cast<std::size_t>(options_.max_features));
      std::sort(kept.begin(), kept.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    if (kept.empty()) throw_invalid(fmt::format("{}: column '{}' holds no words to learn", kind_, column_));
    words_.clear();
    weights_.clear();
    for (const auto& [word, figures] : kept) {
      words_.push_back(word);
      weights_.push_back(kind_ == "tfidf_vectorizer" ? std::log((1.0 + static_cast<double>(num_documents)) /
                                                                (1.0 + static_cast<double>(figures.documents))) +
                                                           1
                                                     : 1);
    }
    index_words();
  }
  using Preprocessor::transform;
  RecordBatchPointer transform(const RecordBatchPointer& batch) const override {
    if (words_.empty()) throw_not_fitted(kind_);
    const std::size_t width = words_.size();
    std::vector<double> vectors(static_cast<std::size_t>(batch->num_rows()) * width);
    for_each_word(batch, column_, options_.lowercase, finder_, [&](std::size_t row, std::string_view word) {
      const auto place = index_.find(std::string(word));
      if (place != index_.end()) vectors[row * width + place->second] += weights_[place->second];
    });
    if (kind_ == "tfidf_vectorizer") normalize(vectors, width);
    return with_column(batch, output_, vectors_of(std::move(vectors), static_cast<std::int64_t>(width)));
  }
  Json to_json() const override {
    return {{"kind", kind_},
            {"column", column_},
            {"output", output_},
            {"max_features", options_.max_features},
            {"min_documents", options_.min_documents},
            {"lowercase", options_.lowercase},
            {"words", words_},
            {"weights", weights_}};
  }

 private:
  void index_words() {
    index_.clear();
    for (std::size_t i = 0; i < words_.size(); ++i) index_.emplace(words_[i], i);
  }

  std::string kind_;
  std::string column_;
  std::string output_;
  VectorizerOptions options_;
  WordFinder finder_;
  std::vector<std::string> words_;
  std::vector<double> weights_;
  std::unordered_map<std::string, std::size_t> index_;
};

class HashingVectorizer : public Preprocessor {
 public:
  HashingVectorizer(std::string column, std::string output, std::int64_t num_features)
      : column_(std::move(column)), output_(std::move(output)), num_features_(num_features) {
    if (num_features <= 0 || num_features > kMaxFeatures)
      throw_invalid(fmt::format("hashing_vectorizer: {} features; 1 to {} are expected", num_features, kMaxFeatures));
  }
  void fit(const Dataset&, const RunOptions&) override {}
  using Preprocessor::transform;
  RecordBatchPointer transform(const RecordBatchPointer& batch) const override {
    const auto width = static_cast<std::size_t>(num_features_);
    std::vector<double> vectors(static_cast<std::size_t>(batch->num_rows()) * width);
    for_each_word(batch, column_, true, finder_, [&](std::size_t row, std::string_view word) {
      const auto hash = static_cast<std::int64_t>(static_cast<std::int32_t>(murmur3(word)));
      vectors[row * width + static_cast<std::size_t>(std::abs(hash) % num_features_)] += hash >= 0 ? 1 : -1;
    });
    normalize(vectors, width);
    return with_column(batch, output_, vectors_of(std::move(vectors), num_features_));
  }
  Json to_json() const override {
    return {{"kind", "hashing_vectorizer"}, {"column", column_}, {"output", output_}, {"num_features", num_features_}};
  }

 private:
  std::string column_;
  std::string output_;
  std::int64_t num_features_;
  WordFinder finder_;
};

}  // namespace

PreprocessorPointer count_vectorizer(std::string column, std::string output, VectorizerOptions options) {
  return std::make_shared<Vectorizer>("count_vectorizer", std::move(column), std::move(output), options);
}
PreprocessorPointer tfidf_vectorizer(std::string column, std::string output, VectorizerOptions options) {
  return std::make_shared<Vectorizer>("tfidf_vectorizer", std::move(column), std::move(output), options);
}
PreprocessorPointer hashing_vectorizer(std::string column, std::string output, std::int64_t num_features) {
  return std::make_shared<HashingVectorizer>(std::move(column), std::move(output), num_features);
}

PreprocessorPointer read_vectorizer(const Json& json) {
  if (json.at("kind") == "hashing_vectorizer") {
    return hashing_vectorizer(json.at("column").get<std::string>(), json.at("output").get<std::string>(),
                              json.at("num_features").get<std::int64_t>());
  }
  return std::make_shared<Vectorizer>(json);
}

}  // namespace mobula::data
