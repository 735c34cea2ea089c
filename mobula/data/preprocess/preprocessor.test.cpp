// Preprocessors against scikit-learn, which computes in Python what is compared here.
#include "mobula/data/preprocess/preprocessor.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "mobula/base/files.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/data/describe.hpp"
#include "mobula/data/rows/tensor_view.hpp"
#include "mobula/data/rows/typed_rows.hpp"

namespace mobula::data {
namespace {

/// Returns a column's numbers, vectors row after row.
std::vector<double> numbers(const Dataset& dataset, const std::string& column) {
  std::vector<double> all;
  for (const auto& batch : dataset.collect()) {
    const TensorView view = tensor_view(batch, column);
    for (std::int64_t i = 0; i < view.size(); ++i)
      all.push_back(view.type == ElementType::float64 ? view.as<double>()[i]
                    : view.type == ElementType::uint8 ? view.as<std::uint8_t>()[i]
                                                      : static_cast<double>(view.as<std::int64_t>()[i]));
  }
  return all;
}

class PreprocessorTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  /// Runs Python, which writes rows.parquet, and the numbers to expect into expected.json.
  Json python(const std::string& program) const {
    write_file_atomic(path("test.py"),
                      "import json, numpy as np, pyarrow as pa, pyarrow.parquet as pq\nexpected = {}\n" + program +
                          "\njson.dump({k: np.asarray(v, dtype=float).ravel().tolist() for k, v in "
                          "expected.items()}, open('expected.json', 'w'))\n");
    const std::string command =
        fmt::format("cd '{}' && '{}' test.py > log 2>&1", folder_.path().string(), MOBULA_TEST_PYTHON);
    EXPECT_EQ(std::system(command.c_str()), 0) << read_file(path("log"));
    return parse_json(read_file(path("expected.json")), "expected.json");
  }
  void compare(const Dataset& got, const std::string& column, const Json& expected, const std::string& what) const {
    const auto values = numbers(got, column);
    ASSERT_EQ(values.size(), expected.size()) << what;
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_NEAR(values[i], expected[i].get<double>(), 1e-9 * std::max(1.0, std::abs(values[i]))) << what << " " << i;
  }
  TemporaryDirectory folder_;
};

TEST_F(PreprocessorTest, ScalesAndBinsAsScikitLearnDoes) {
  const Json expected = python(R"(
from sklearn import preprocessing as p
from sklearn.impute import SimpleImputer
rng = np.random.default_rng(1)
x = np.concatenate([rng.normal(3, 2, 997), [1e6, -5, 0.0]]); y = rng.integers(-50, 50, 1000).astype(float)
m = x.copy(); m[::7] = np.nan
pq.write_table(pa.table({'x': x, 'y': y, 'm': pa.array(m, from_pandas=True), 'c': np.full(1000, 2.5)}), 'rows.parquet', row_group_size=100)
X = np.stack([x, y], 1)
for name, s in [('standard', p.StandardScaler()), ('minmax', p.MinMaxScaler((-1, 3))), ('maxabs', p.MaxAbsScaler()), ('robust', p.RobustScaler()),
                ('l1', p.Normalizer('l1')), ('l2', p.Normalizer('l2')), ('max', p.Normalizer('max'))]:
    t = s.fit_transform(X)
    expected[name + 'x'], expected[name + 'y'] = t[:, 0], t[:, 1]
for s in ('uniform', 'quantile'):
    k = {'quantile_method': 'linear'} if s == 'quantile' else {}
    t = p.KBinsDiscretizer(7, encode='ordinal', strategy=s, subsample=None, **k).fit_transform(X)
    expected[s + 'x'], expected[s + 'y'] = t[:, 0], t[:, 1]
for s in ('mean', 'median', 'most_frequent'):
    expected[s] = SimpleImputer(strategy=s).fit_transform(m[:, None])
expected['constant'] = p.StandardScaler().fit_transform(np.full((1000, 1), 2.5))
)");
  const auto rows = Dataset::read(path("rows.parquet"));
  const std::vector<std::string> columns = {"x", "y"};
  const std::vector<std::pair<std::string, PreprocessorPointer>> all = {{"standard", standard_scaler(columns)},
                                                                        {"minmax", min_max_scaler(columns, -1, 3)},
                                                                        {"maxabs", max_abs_scaler(columns)},
                                                                        {"robust", robust_scaler(columns)},
                                                                        {"l1", normalizer(columns, "l1")},
                                                                        {"l2", normalizer(columns)},
                                                                        {"max", normalizer(columns, "max")},
                                                                        {"uniform", binner(columns, {7})},
                                                                        {"quantile", binner(columns, {7, "quantile"})}};
  for (const auto& [name, preprocessor] : all) {
    const auto got = preprocessor->fit_transform(rows);
    for (const std::string& column : columns) compare(got, column, expected.at(name + column), name);
    preprocessor->save(path("saved.json"));
    compare(Preprocessor::load(path("saved.json"))->transform(rows), "x", expected.at(name + "x"), name + " loaded");
  }
  for (const char* strategy : {"mean", "median", "most_frequent"})
    compare(imputer({"m"}, {strategy, nullptr})->fit_transform(rows), "m", expected.at(strategy), strategy);
  compare(standard_scaler({"c"})->fit_transform(rows), "c", expected.at("constant"), "constant");
}

TEST_F(PreprocessorTest, EncodesAndVectorizesAsScikitLearnDoes) {
  const Json expected = python(R"(
from sklearn import preprocessing as p
from sklearn.feature_extraction import text as f
rng = np.random.default_rng(2)
city = rng.choice(['Oslo', 'Bern', 'Zürich', 'a b'], 500); number = rng.choice([3, 20, 100, -1], 500)
tags = [list(rng.choice(['red', 'green', 'blue'], rng.integers(0, 4), replace=False)) for _ in range(500)]
words = ['The', 'quick', 'BROWN', 'fox', 'x', 'über', 'don\'t', 'naïve', 'a1', '日本語', 'jumps_over', '3.14', 'e-mail']
texts = [' '.join(rng.choice(words, rng.integers(0, 12))) for _ in range(500)]
pq.write_table(pa.table({'city': city, 'number': number, 'tags': pa.array(tags, pa.list_(pa.string())), 'text': texts}), 'rows.parquet', row_group_size=64)
expected['ordinal_city'] = p.OrdinalEncoder().fit_transform(city[:, None])
expected['ordinal_number'] = p.OrdinalEncoder().fit_transform(number[:, None])
expected['label'] = p.LabelEncoder().fit_transform(city)
onehot = p.OneHotEncoder(sparse_output=False).fit_transform(city[:, None])
expected['city_Bern'], expected['city_Zürich'] = onehot[:, 0], onehot[:, 2]
expected['multi'] = p.MultiLabelBinarizer().fit_transform(tags)
expected['count'] = f.CountVectorizer().fit_transform(texts).toarray()
expected['count5'] = f.CountVectorizer(max_features=5, lowercase=False).fit_transform(texts).toarray()
expected['tfidf'] = f.TfidfVectorizer(min_df=2).fit_transform(texts).toarray()
expected['hash'] = f.HashingVectorizer(n_features=16).fit_transform(texts).toarray()
)");
  const auto rows = Dataset::read(path("rows.parquet"));
  const auto ordinal = ordinal_encoder({"city", "number"})->fit_transform(rows);
  compare(ordinal, "city", expected.at("ordinal_city"), "ordinal");
  compare(ordinal, "number", expected.at("ordinal_number"), "ordinal numbers");
  const auto one_hot = one_hot_encoder({"city"})->fit_transform(rows);
  for (const char* column : {"city_Bern", "city_Zürich"}) compare(one_hot, column, expected.at(column), column);
  compare(multi_hot_encoder({"tags"})->fit_transform(rows), "tags", expected.at("multi"), "multi-hot");
  LabelEncoder labels("city");
  labels.fit(rows);
  compare(static_cast<const Preprocessor&>(labels).transform(rows), "city", expected.at("label"), "labels");
  EXPECT_EQ(labels.labels(), (std::vector<std::string>{"Bern", "Oslo", "Zürich", "a b"}));
  const auto batch = rows.limit(50).collect().front();
  EXPECT_EQ(rows_as_json(Dataset::from_batches({labels.inverse_transform(labels.transform(batch))})),
            rows_as_json(Dataset::from_batches({batch})));
  const std::vector<std::pair<std::string, PreprocessorPointer>> vectorizers = {
      {"count", count_vectorizer("text", "v")},
      {"count5", count_vectorizer("text", "v", {.max_features = 5, .lowercase = false})},
      {"tfidf", tfidf_vectorizer("text", "v", {.min_documents = 2})},
      {"hash", hashing_vectorizer("text", "v", 16)}};
  for (const auto& [name, vectorizer] : vectorizers) {
    compare(vectorizer->fit_transform(rows), "v", expected.at(name), name);
    vectorizer->save(path("saved.json"));
    compare(Preprocessor::load(path("saved.json"))->transform(rows), "v", expected.at(name), name + " loaded");
  }
}

struct Features {
  double a;
  std::int64_t b;
  std::string c;
};

TEST_F(PreprocessorTest, ChainsLearnFromWhatThoseBeforeGive) {
  const auto rows = Dataset::from_batches({batch_of(std::vector<Features>{{0, 10, "x"}, {2, 20, "y"}, {4, 60, "x"}})});
  const auto chain = preprocess_chain(
      {min_max_scaler({"a", "b"}), one_hot_encoder({"c"}), concatenator({"a", "b", "c_x", "c_y"}, "features")});
  const auto got = chain->fit_transform(rows);
  EXPECT_EQ(numbers(got, "features"), (std::vector<double>{0, 0, 1, 0, 0.5, 0.2, 0, 1, 1, 1, 1, 0}));
  EXPECT_EQ(columns_of(got).size(), 1u);
  chain->save(path("chain.json"));
  EXPECT_EQ(numbers(Preprocessor::load(path("chain.json"))->transform(rows), "features"), numbers(got, "features"));
}

TEST_F(PreprocessorTest, NameWhatCanNotBeChanged) {
  const auto rows = Dataset::from_batches({batch_of(std::vector<Features>{{0, 10, "x"}, {2, 20, "y"}})});
  const auto batch = rows.collect().front();
  EXPECT_EQ(refusal([&] { standard_scaler({"a"})->transform(batch); }), "standard_scaler: has not learnt yet");
  EXPECT_EQ(refusal([&] { standard_scaler({"c"})->fit(rows); }), "preprocess: column 'c' is string, not numbers");
  EXPECT_EQ(refusal([&] { standard_scaler({"z"})->fit(rows); }), "preprocess: no column 'z'");
  EXPECT_EQ(refusal([&] { standard_scaler({"a"})->fit(rows.filter("a > 9")); }),
            "preprocess: column 'a' holds no numbers to learn from");
  const auto encoder = ordinal_encoder({"c"});
  encoder->fit(rows.filter("c == 'x'"));
  EXPECT_EQ(refusal([&] { encoder->transform(batch); }),
            "ordinal_encoder: column 'c' holds 'y', which was not there when it learnt");
  const auto ignoring = ordinal_encoder({"c"}, Unknown::ignore);
  ignoring->fit(rows.filter("c == 'x'"));
  EXPECT_EQ(numbers(ignoring->transform(rows), "c"), (std::vector<double>{0, -1}));
  write_file_atomic(path("bad.json"), R"({"kind": "standard_scalar"})");
  EXPECT_NE(
      refusal([&] { Preprocessor::load(path("bad.json")); }).find("bad.json: unknown preprocessor 'standard_scalar'"),
      std::string::npos);
  write_file_atomic(
      path("bad.json"),
      R"({"kind": "standard_scaler", "columns": ["a"], "low": 0, "high": 1, "centers": [1, 2], "scales": [1]})");
  EXPECT_NE(refusal([&] { Preprocessor::load(path("bad.json")); }).find("bad.json"), std::string::npos);
}

}  // namespace
}  // namespace mobula::data
