// Tags machine-learning projects (Made With ML) by their titles and descriptions: a dataset is split, words become numbers, a
// softmax regression learns from batches, and actors of the runtime tag the projects that were kept aside.
//
//   made_with_ml dataset.csv [predictions.jsonl] [--isolation process] [--engine ray://local]
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <mobula/base/error.hpp>
#include <mobula/base/json.hpp>
#include <mobula/core.hpp>
#include <mobula/data/content/slices.hpp>
#include <mobula/data/dataset.hpp>
#include <mobula/data/feed/batch_iterator.hpp>
#include <mobula/data/preprocess/preprocessor.hpp>
#include <mobula/data/rows/map_actors.hpp>
#include <mobula/data/rows/tensor_view.hpp>
#include <mobula/data/rows/typed_rows.hpp>
#include <string>
#include <vector>

using namespace mobula;
using namespace mobula::data;

struct Project {
  std::string text, tag;
};

struct TaggedProject {
  std::string text, tag, predicted;
  double probability = 0;
  bool correct = false;
};

/// Softmax regression. A value: it goes to the actors as it is.
struct Classifier {
  std::int64_t num_labels = 0, num_words = 0;
  std::vector<double> weights;  ///< [labels, words + 1], the last one a bias

  void resize(std::int64_t labels, std::int64_t words) {
    num_labels = labels;
    num_words = words;
    weights.assign(static_cast<std::size_t>(labels * (words + 1)), 0.0);
  }
  std::vector<double> probabilities(const double* words) const {
    std::vector<double> scores(static_cast<std::size_t>(num_labels));
    for (std::int64_t label = 0; label < num_labels; ++label) {
      const double* const row = weights.data() + label * (num_words + 1);
      double sum = row[num_words];
      for (std::int64_t i = 0; i < num_words; ++i) sum += row[i] * words[i];
      scores[static_cast<std::size_t>(label)] = sum;
    }
    const double most = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    for (double& score : scores) total += score = std::exp(score - most);
    for (double& score : scores) score /= total;
    return scores;
  }
  /// Takes one step down the loss of one row, whose L2 penalty is small.
  void learn(const double* words, std::int64_t tag, double rate) {
    const auto scores = probabilities(words);
    for (std::int64_t label = 0; label < num_labels; ++label) {
      double* const row = weights.data() + label * (num_words + 1);
      const double slope = scores[static_cast<std::size_t>(label)] - (label == tag ? 1 : 0);
      for (std::int64_t i = 0; i < num_words; ++i) row[i] -= rate * (slope * words[i] + 1e-4 * row[i]);
      row[num_words] -= rate * slope;
    }
  }
};

/// What the actors hold: the preprocessor as it was saved, and the classifier.
struct Tagger {
  Tagger(const std::string& saved, Classifier classifier, std::vector<std::string> labels)
      : words(Preprocessor::from_json(parse_json(saved, "preprocess.json"))),
        classifier(std::move(classifier)),
        labels(std::move(labels)) {}
  RecordBatchPointer operator()(const RecordBatchPointer& batch) const {
    const TensorView vectors = tensor_view(words->transform(batch), "words");
    std::vector<TaggedProject> tagged;
    for (const Project& project : rows_of<Project>(batch)) {
      const auto row = static_cast<std::int64_t>(tagged.size());
      const auto scores = classifier.probabilities(vectors.as<double>() + row * classifier.num_words);
      const auto best = std::max_element(scores.begin(), scores.end());
      const std::string& predicted = labels[static_cast<std::size_t>(best - scores.begin())];
      tagged.push_back({project.text, project.tag, predicted, *best, predicted == project.tag});
    }
    return batch_of(tagged);
  }

  PreprocessorPointer words;
  Classifier classifier;
  std::vector<std::string> labels;
};

int main(int argc, char** argv) {
  Runtime rt(argc, argv);
  if (argc < 2) {
    fmt::print(stderr, "usage: made_with_ml dataset.csv [predictions.jsonl]\n");
    return 2;
  }
  try {
    const Dataset projects = Dataset::read(argv[1])
                                 .with({{"text", "concat(title, ' ', description)"}})
                                 .select({"text", "tag"})
                                 .filter("tag is not null");
    const auto [train, test] = projects.train_test_split(0.2, 7, "tag");

    const auto labels = std::make_shared<LabelEncoder>("tag");
    const auto words = preprocess_chain({tfidf_vectorizer("text", "words", {.min_documents = 2}), labels});
    words->fit(train);
    Classifier classifier;
    for (std::uint64_t epoch = 0; epoch < 20; ++epoch) {
      const Dataset shuffled = words->transform(train.random_shuffle(epoch));
      for (const RecordBatchPointer& batch : iter_batches(shuffled, {.batch_size = 64})) {
        const TensorView vectors = tensor_view(batch, "words");
        const TensorView tags = tensor_view(batch, "tag");
        if (classifier.weights.empty())
          classifier.resize(static_cast<std::int64_t>(labels->labels().size()), vectors.shape[1]);
        for (std::int64_t row = 0; row < vectors.shape[0]; ++row)
          classifier.learn(vectors.as<double>() + row * vectors.shape[1], tags.as<std::int64_t>()[row], 0.5);
      }
    }

    const Dataset tagged = map_batches_actors<Tagger>(test, rt, {.max_actors = 2, .name = "tagger", .batch_size = 40},
                                                      words->to_json().dump(), classifier, labels->labels());
    if (argc > 2) tagged.write(argv[2], "jsonl");
    std::vector<Slice> slices{{"short", "length(text) < 100"}};
    for (const std::string& label : labels->labels()) slices.push_back({label, fmt::format("tag == '{}'", label)});
    for (const Json& slice : slice_figures(tagged, slices, {"correct"})) {
      fmt::print("{}: {} projects, accuracy {:.3f}\n", slice.at("slice").get<std::string>(),
                 slice.at("rows").get<std::int64_t>(), slice.at("columns").at("correct").at("mean").get<double>());
    }
    const Json all = slice_figures(tagged, {}, {"correct"}).front();
    fmt::print("accuracy {:.3f} on {} projects\n", all.at("columns").at("correct").at("mean").get<double>(),
               all.at("rows").get<std::int64_t>());
  } catch (const Error& error) {
    fmt::print(stderr, "error: {}\n{}", error.message(), error.hint().empty() ? "" : "hint: " + error.hint() + "\n");
    return 1;
  }
}
