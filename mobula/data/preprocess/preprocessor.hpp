/// Preprocessors: learnt from a dataset in one pass, applied to datasets and to single batches, saved with the model.
///
///     auto chain = preprocess_chain({imputer({"age"}, {.strategy = "median"}), standard_scaler({"age"}),
///                                    one_hot_encoder({"city"})});
///     Dataset ready = chain->fit_transform(rows);
///     chain->save("model/preprocess.json");
///     auto serving = Preprocessor::load("model/preprocess.json");
///     RecordBatchPointer one = serving->transform(batch);             // the same code in training and in serving
///
/// Nulls are left out when learning, and stay null unless a preprocessor says otherwise.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/data/dataset.hpp"

namespace mobula::data {

/// Something that changes rows and may have to learn first. transform() is thread-safe; fit() is not.
class Preprocessor {
 public:
  virtual ~Preprocessor() = default;

  /// Learns. Throws Error(invalid_argument) for columns that don't fit, or that hold nothing to learn from.
  virtual void fit(const Dataset& dataset, const RunOptions& options = {}) = 0;
  /// Changes a batch. Throws Error(invalid_argument) before fit(), and naming column and value for what can't be changed.
  virtual RecordBatchPointer transform(const RecordBatchPointer& batch) const = 0;
  /// Returns what save() writes: {"kind", ...} with options and what was learnt.
  virtual Json to_json() const = 0;

  /// Changes a dataset's batches, lazily. The dataset shares this preprocessor.
  Dataset transform(const Dataset& dataset) const;
  /// Learns and changes.
  Dataset fit_transform(const Dataset& dataset, const RunOptions& options = {});
  /// Writes a JSON file, whole or not at all.
  void save(const std::filesystem::path& path) const;
  /// Reads what save() wrote. Throws Error(corrupt) naming the file.
  static std::shared_ptr<Preprocessor> load(const std::filesystem::path& path);
  /// Makes what to_json() told. Throws Error(corrupt).
  static std::shared_ptr<Preprocessor> from_json(const Json& json);
};

using PreprocessorPointer = std::shared_ptr<Preprocessor>;

/// Applies one after the other; each learns from what those before it give.
PreprocessorPointer preprocess_chain(std::vector<PreprocessorPointer> parts);

/// (x - mean) / standard deviation of the population; a constant column becomes 0.
PreprocessorPointer standard_scaler(std::vector<std::string> columns);
/// From the column's range to [low, high]; a constant column becomes low.
PreprocessorPointer min_max_scaler(std::vector<std::string> columns, double low = 0, double high = 1);
/// x / max |x|.
PreprocessorPointer max_abs_scaler(std::vector<std::string> columns);
/// (x - median) / (third quartile - first quartile). Sorts each column once.
PreprocessorPointer robust_scaler(std::vector<std::string> columns);
/// Divides each row by the norm ("l1", "l2", "max") of its columns taken together; rows of zeros stay.
PreprocessorPointer normalizer(std::vector<std::string> columns, std::string norm = "l2");

struct ImputerOptions {
  std::string strategy = "mean";  ///< mean, median, most_frequent (the least of several), constant
  Json constant;                  ///< a number or a text
};
/// Puts a value in the place of nulls (and of NaN).
PreprocessorPointer imputer(std::vector<std::string> columns, ImputerOptions options = {});

struct BinOptions {
  std::int64_t num_bins = 5;
  std::string strategy = "uniform";  ///< uniform: bins of one width; quantile: of about as many rows
};
/// Numbers become the number of their bin, from 0; those outside what was learnt go into the first or last.
PreprocessorPointer binner(std::vector<std::string> columns, BinOptions options = {});

/// What encoders do with values that were not there when they learnt.
enum class Unknown { error, ignore };

/// Values become their position among the sorted ones, as int64; an ignored unknown one becomes -1.
PreprocessorPointer ordinal_encoder(std::vector<std::string> columns, Unknown unknown = Unknown::error);
/// Each value of a column becomes a column `column_value` of 0 and 1 (uint8); an ignored unknown one is all zeros.
PreprocessorPointer one_hot_encoder(std::vector<std::string> columns, Unknown unknown = Unknown::error);
/// Lists of values become vectors of 0 and 1 over the sorted values that were met in any list.
PreprocessorPointer multi_hot_encoder(std::vector<std::string> columns, Unknown unknown = Unknown::error);

/// One column of labels as numbers, with the way back.
class LabelEncoder : public Preprocessor {
 public:
  explicit LabelEncoder(std::string column) : column_(std::move(column)) {}

  void fit(const Dataset& dataset, const RunOptions& options = {}) override;
  using Preprocessor::transform;
  RecordBatchPointer transform(const RecordBatchPointer& batch) const override;
  Json to_json() const override;
  /// Returns the labels, sorted: a label's number is its position.
  const std::vector<std::string>& labels() const { return labels_; }
  /// Turns numbers back into labels.
  RecordBatchPointer inverse_transform(const RecordBatchPointer& batch) const;

 private:
  friend std::shared_ptr<Preprocessor> read_label_encoder(const Json& json);
  std::string column_;
  std::vector<std::string> labels_;
};

struct VectorizerOptions {
  std::int64_t max_features = 0;   ///< keeps the words that are met most; 0: all
  std::int64_t min_documents = 1;  ///< leaves out words in fewer texts
  bool lowercase = true;
};
/// Texts become vectors that count words (two letters or digits at least) over a sorted vocabulary, as column `output`.
PreprocessorPointer count_vectorizer(std::string column, std::string output, VectorizerOptions options = {});
/// The same, weighted by ln((1 + n) / (1 + texts with the word)) + 1, each vector of length 1.
PreprocessorPointer tfidf_vectorizer(std::string column, std::string output, VectorizerOptions options = {});
/// Words go to one of num_features places by their hash (MurmurHash3, its sign included); nothing is learnt. Vectors are of
/// length 1.
PreprocessorPointer hashing_vectorizer(std::string column, std::string output, std::int64_t num_features);

/// Numbers and vectors become one vector of float64, as column `output`; the columns go unless `keep`.
PreprocessorPointer concatenator(std::vector<std::string> columns, std::string output, bool keep = false);

}  // namespace mobula::data
