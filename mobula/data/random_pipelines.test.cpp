// Random pipelines against a naive reference over plain structs: the rows that come out are those of the reference, in its
// order where there is one, whatever threads and memory there are and wherever the rows lay; a run that is ended or that
// fails on the way leaves nothing behind, and gives the same when it is run again.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/random.hpp"
#include "mobula/core/runtime.hpp"
#include "mobula/data/dataset.hpp"
#include "mobula/data/plan/part_workers.hpp"
#include "mobula/data/rows/map.hpp"
#include "mobula/data/testing/property_seeds.hpp"

namespace mobula::data {
namespace {
namespace fs = std::filesystem;

struct Row {
  std::int64_t id;
  std::optional<std::int64_t> k;
  double x;
  std::string s;

  auto tie() const { return std::tie(id, k, x, s); }
  bool operator==(const Row& other) const { return tie() == other.tie(); }
  bool operator<(const Row& other) const { return tie() < other.tie(); }
};

struct Weight {
  std::int64_t k;
  double w;
};

struct Number {
  std::int64_t id;
};

std::ostream& operator<<(std::ostream& out, const Row& row) {
  return out << fmt::format("({}, {}, {}, '{}')", row.id, row.k ? fmt::format("{}", *row.k) : "null", row.x, row.s);
}

std::vector<Row> rows_that_come_out(const Dataset& dataset, const RunOptions& options = {}) {
  std::vector<Row> rows;
  for (const auto& batch : dataset.collect(options)) {
    for (Row& row : rows_of<Row>(batch)) rows.push_back(std::move(row));
  }
  return rows;
}

/// A pipeline and what a naive reader makes of it.
struct Case {
  Dataset dataset;
  std::vector<Row> rows;
  bool ordered = true;  ///< false: the rows may come out in any order
  std::string text;     ///< what it is made of, for failures
};

/// What workers in threads of this process make parts of.
std::optional<Dataset> dataset_of_workers;
Dataset shared_dataset() {
  return *dataset_of_workers;
}

/// Returns the files of rows below a folder, by name.
std::map<std::string, std::string> files_of(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && !name.starts_with("_"))
      files.emplace(entry.path().lexically_relative(folder).string(), read_file(entry.path()));
  }
  return files;
}

class RandomPipelineTest : public ::testing::Test {
 protected:
  std::vector<Row> random_rows(Random& random, std::uint64_t most) {
    static const char* words[] = {"", "a", "Ab", "wörter", "x,y", "\"q\"", "longer than the others are"};
    std::vector<Row> rows;
    const std::uint64_t count = random.below(8) == 0 ? 0 : random.below(most);
    for (std::uint64_t i = 0; i < count; ++i) {
      Row row{static_cast<std::int64_t>(i), std::nullopt, static_cast<double>(random.below(400)) / 4 - 50,
              words[random.below(std::size(words))]};
      if (random.below(5) != 0) row.k = static_cast<std::int64_t>(random.below(9)) - 4;
      rows.push_back(std::move(row));
    }
    return rows;
  }

  /// Rows in memory, in batches of any size, or in one to three files of a format.
  Dataset source_of(Random& random, const std::vector<Row>& rows, std::string& text) {
    std::vector<RecordBatchPointer> batches;
    std::size_t begin = 0;
    do {
      const std::size_t end = std::min(rows.size(), begin + 1 + random.below(200));
      batches.push_back(batch_of(std::vector<Row>(rows.begin() + static_cast<std::ptrdiff_t>(begin),
                                                  rows.begin() + static_cast<std::ptrdiff_t>(end))));
      begin = end;
    } while (begin < rows.size());
    const char* formats[] = {"", "csv", "jsonl", "parquet", "ipc"};
    const std::string format = formats[random.below(std::size(formats))];
    text += format.empty() ? "memory" : format;
    auto dataset = Dataset::from_batches(batches);
    if (format.empty()) return dataset;
    std::vector<std::string> files;
    const std::size_t num_files = std::min<std::size_t>(batches.size(), 1 + random.below(3));
    for (std::size_t file = 0; file < num_files; ++file) {
      const auto part = [&](std::size_t index) {
        return batches.begin() + static_cast<std::ptrdiff_t>(batches.size() * index / num_files);
      };
      files.push_back((folder_.path() / fmt::format("{}.{}", num_files_++, format)).string());
      WriteOptions write;
      write.row_group_rows = static_cast<std::int64_t>(1 + random.below(100));
      Dataset::from_batches({part(file), part(file + 1)}).write_file(files.back(), format, write);
    }
    ReadOptions read;
    read.piece_bytes = 200 + random.below(3000);
    if (format == "csv" || format == "jsonl")
      read.types = {{"id", "int64"}, {"k", "int64"}, {"x", "float64"}, {"s", "string"}};
    return Dataset::read(files, format, read).select({"id", "k", "x", "s"});
  }

  Case random_case(Random& random) {
    std::string text;
    auto rows = random_rows(random, 700);
    auto dataset = source_of(random, rows, text);
    Case made{std::move(dataset), std::move(rows), true, std::move(text)};
    const std::uint64_t num_steps = random.below(7);
    for (std::uint64_t i = 0; i < num_steps; ++i) add_step(random, made);
    return made;
  }

  template <class Keep>
  static void keep_if(std::vector<Row>& rows, Keep keep) {
    std::erase_if(rows, [&keep](const Row& row) { return !keep(row); });
  }

  /// Sorts by all columns, which tells every two rows apart that differ.
  static void order_by_all(Case& made) {
    made.dataset = made.dataset.sort({{"id"}, {"k"}, {"x"}, {"s"}});
    std::stable_sort(made.rows.begin(), made.rows.end(), [](const Row& a, const Row& b) {
      // Nulls come last.
      return std::tuple(a.id, !a.k, a.k, a.x, a.s) < std::tuple(b.id, !b.k, b.k, b.x, b.s);
    });
    made.ordered = true;
    made.text += " | sort(all)";
  }

  void add_step(Random& random, Case& made) { add_step(random, made, random.below(17)); }
  void add_step(Random& random, Case& made, std::uint64_t kind) {
    auto& [dataset, rows, ordered, text] = made;
    const auto note = [&text](const std::string& step) { text += " | " + step; };
    switch (kind) {
      case 0: {
        const double limit = static_cast<double>(random.below(100)) - 50;
        note(fmt::format("filter(x > {})", limit));
        dataset = dataset.filter(fmt::format("x > {}", limit));
        return keep_if(rows, [limit](const Row& row) { return row.x > limit; });
      }
      case 1:
        note("filter(k)");
        dataset = dataset.filter("k % 3 == 1 or k is null");
        // The rest has the divisor's sign.
        return keep_if(rows, [](const Row& row) { return !row.k || (*row.k % 3 + 3) % 3 == 1; });
      case 2:
        note("with");
        dataset = dataset.with({{"k", "k * 2 + id"}, {"x", "x - 0.25"}, {"s", "concat(s, 'A')"}});
        for (Row& row : rows) {
          if (row.k) *row.k = *row.k * 2 + row.id;
          row.x -= 0.25;
          row.s += 'A';
        }
        return;
      case 3: {
        note("flat_map");
        dataset = flat_map<Row>(
            dataset, [](const Row& row) { return std::vector<Row>(static_cast<std::size_t>(row.id % 3), row); });
        std::vector<Row> repeated;
        for (const Row& row : rows) repeated.insert(repeated.end(), static_cast<std::size_t>(row.id % 3), row);
        rows = std::move(repeated);
        return;
      }
      case 4:
        note("filter_rows");
        dataset = filter_rows<Row>(dataset, [](const Row& row) { return row.s.size() < 4; });
        return keep_if(rows, [](const Row& row) { return row.s.size() < 4; });
      case 5: {
        if (!ordered) order_by_all(made);
        const auto limit = static_cast<std::int64_t>(random.below(rows.size() + 10));
        note(fmt::format("limit({})", limit));
        dataset = dataset.limit(limit);
        rows.resize(std::min(rows.size(), static_cast<std::size_t>(limit)));
        return;
      }
      case 6: {
        std::string other_text;
        const auto others = random_rows(random, 200);
        const auto other = source_of(random, others, other_text);
        note(fmt::format("union({})", other_text));
        dataset = dataset.union_with({other});
        rows.insert(rows.end(), others.begin(), others.end());
        return;
      }
      case 7: {
        const bool descending = random.below(2) == 0;
        note(descending ? "sort(-k)" : "sort(k)");
        dataset = dataset.sort({{"k", descending}});
        std::stable_sort(rows.begin(), rows.end(), [descending](const Row& a, const Row& b) {
          if (!a.k || !b.k) return a.k.has_value() && !b.k;
          return descending ? *a.k > *b.k : *a.k < *b.k;
        });
        return;
      }
      case 8:
        return order_by_all(made);
      case 9: {
        if (!ordered) order_by_all(made);
        const std::uint64_t seed = random.below(100);
        const auto window = static_cast<std::int64_t>(random.below(2) == 0 ? 0 : 1 + random.below(20));
        note(fmt::format("random_shuffle({}, {})", seed, window));
        dataset = dataset.random_shuffle(seed, window);
        rows = pick(rows, Dataset::range(static_cast<std::int64_t>(rows.size())).random_shuffle(seed, window));
        return;
      }
      case 10: {
        if (!ordered) order_by_all(made);
        const std::uint64_t seed = random.below(100);
        note(fmt::format("sample({})", seed));
        dataset = dataset.sample(0.6, seed);
        rows = pick(rows, Dataset::range(static_cast<std::int64_t>(rows.size())).sample(0.6, seed));
        return;
      }
      case 11: {
        if (!ordered) order_by_all(made);
        note("groupby(k)");
        dataset = dataset.groupby({"k"}, {{"max", "id", "id"}, {"min", "x", "x"}, {"first", "s", "s"}})
                      .select({"id", "k", "x", "s"});
        std::map<std::optional<std::int64_t>, Row> groups;
        for (const Row& row : rows) {
          Row& group = groups.emplace(row.k, row).first->second;
          group.id = std::max(group.id, row.id);
          group.x = std::min(group.x, row.x);
        }
        rows.clear();
        for (auto& [key, group] : groups) rows.push_back(group);
        ordered = false;
        return;
      }
      case 12:
        note("unique");
        dataset = dataset.unique({"id", "k", "x", "s"});
        std::sort(rows.begin(), rows.end());
        rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
        ordered = false;
        return;
      case 13:
        return add_join(random, made);
      case 14: {
        const std::uint64_t size = 1 + random.below(150);
        note(fmt::format("repartition({})", size));
        dataset = dataset.repartition(static_cast<std::int64_t>(size));
        return;
      }
      case 15: {
        const int threads = static_cast<int>(random.below(4));
        note(fmt::format("stage({})", threads));
        dataset = dataset.stage(threads);
        return;
      }
      default:
        if (!ordered) order_by_all(made);
        note("zip");
        dataset = dataset.zip(Dataset::range(static_cast<std::int64_t>(rows.size())).rename({{"id", "position"}}))
                      .with({{"x", "x + position"}})
                      .drop({"position"});
        for (std::size_t i = 0; i < rows.size(); ++i) rows[i].x += static_cast<double>(i);
        return;
    }
  }

  void add_join(Random& random, Case& made) {
    std::vector<Weight> weights;
    for (std::uint64_t i = 0; i < random.below(30); ++i)
      weights.push_back({static_cast<std::int64_t>(random.below(12)) - 6, static_cast<double>(i)});
    const auto right = Dataset::from_batches({batch_of(weights)});
    const char* kinds[] = {"inner", "left", "semi", "anti"};
    const std::string how = kinds[random.below(4)];
    made.text += fmt::format(" | join({}, {} rows)", how, weights.size());
    made.dataset = made.dataset.join(right, {"k"}, how);
    const bool adds = how == "inner" || how == "left";
    if (adds) made.dataset = made.dataset.with({{"x", "x + coalesce(w, 0)"}}).drop({"w"});
    std::vector<Row> joined;
    for (const Row& row : made.rows) {
      std::size_t matches = 0;
      for (const Weight& weight : weights) {
        if (row.k != weight.k) continue;
        ++matches;
        if (!adds) continue;
        joined.push_back(row);
        joined.back().x += weight.w;
      }
      if ((how == "semi" && matches > 0) || ((how == "anti" || how == "left") && matches == 0)) joined.push_back(row);
    }
    made.rows = std::move(joined);
    made.ordered = false;  // where the right side does not fit the memory, rows come out by key
  }

  /// Picks rows by the numbers that a dataset gives: what it does to an order is seen from memory, in one thread.
  static std::vector<Row> pick(const std::vector<Row>& rows, const Dataset& numbers) {
    RunOptions options;
    options.num_threads = 1;
    std::vector<Row> picked;
    for (const auto& batch : numbers.collect(options)) {
      for (const Number& number : rows_of<Number>(batch)) picked.push_back(rows[static_cast<std::size_t>(number.id)]);
    }
    return picked;
  }

  /// Rows in files, and steps that need no other rows than those of a part.
  Case random_case_of_parts(Random& random) {
    while (true) {
      std::string text;
      auto rows = random_rows(random, 700);
      auto dataset = source_of(random, rows, text);
      if (text == "memory") continue;
      Case made{std::move(dataset), std::move(rows), true, std::move(text)};
      const std::uint64_t kinds[] = {0, 1, 2, 3, 4, 14, 15};
      const std::uint64_t num_steps = random.below(6);
      for (std::uint64_t i = 0; i < num_steps; ++i) add_step(random, made, kinds[random.below(std::size(kinds))]);
      return made;
    }
  }

  static RunOptions random_run(Random& random) {
    const std::uint64_t memories[] = {4 << 10, 40 << 10, 256 << 20};
    RunOptions options;
    options.num_threads = static_cast<int>(1 + random.below(8));
    options.memory = memories[random.below(std::size(memories))];
    return options;
  }

  static void expect_alike(const Case& made, std::vector<Row> got, const RunOptions& options) {
    auto expected = made.rows;
    if (!made.ordered) {
      std::sort(got.begin(), got.end());
      std::sort(expected.begin(), expected.end());
    }
    const std::string how = fmt::format("{}; {} threads, {} bytes", made.text, options.num_threads, options.memory);
    ASSERT_EQ(got.size(), expected.size()) << how;
    for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], expected[i]) << "row " << i << " of " << how;
  }

  TemporaryDirectory folder_;
  int num_files_ = 0;
};

TEST_F(RandomPipelineTest, GiveTheRowsOfANaiveReferenceOnAnyThreadsAndMemory) {
  const PropertySeeds seeds = property_seeds(150);
  for (std::uint64_t seed = seeds.begin; seed < seeds.end; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Random random(seed);
    const Case made = random_case(random);
    for (int run = 0; run < 3; ++run) {
      const RunOptions options = random_run(random);
      ASSERT_NO_FATAL_FAILURE(expect_alike(made, rows_that_come_out(made.dataset, options), options));
    }
  }
}

TEST_F(RandomPipelineTest, GiveTheFirstRowsOfTheirOrderWhenTheyAreEndedEarly) {
  const PropertySeeds seeds = property_seeds(60);
  for (std::uint64_t seed = seeds.begin; seed < seeds.end; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Random random(seed, 1);
    Case made = random_case(random);
    if (!made.ordered) order_by_all(made);
    const RunOptions options = random_run(random);
    const std::uint64_t most = random.below(6);
    std::vector<Row> got;
    std::uint64_t batches = 0;
    made.dataset.for_each(
        [&](const RecordBatchPointer& batch) {
          for (Row& row : rows_of<Row>(batch)) got.push_back(std::move(row));
          return ++batches < most;
        },
        options);
    ASSERT_LE(got.size(), made.rows.size()) << made.text;
    for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], made.rows[i]) << "row " << i << " of " << made.text;
  }
}

TEST_F(RandomPipelineTest, LeaveNothingBehindWhenARowFailsAndGiveTheSameWhenRunAgain) {
  const PropertySeeds seeds = property_seeds(60);
  for (std::uint64_t seed = seeds.begin; seed < seeds.end; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Random random(seed, 2);
    Case made = random_case(random);
    if (made.rows.empty()) continue;
    const Row victim = made.rows[random.below(made.rows.size())];
    const std::string output = (folder_.path() / fmt::format("out-{}", seed)).string();
    const RunOptions options = random_run(random);
    const auto failing = flat_map<Row>(made.dataset, [victim](const Row& row) {
      if (row == victim) throw std::runtime_error("this row is bad");
      return std::vector<Row>{row};
    });
    try {
      failing.write(output + "/", "parquet", {}, options);
      FAIL() << made.text;
    } catch (const Error& error) {
      ASSERT_NE(error.message().find("this row is bad"), std::string::npos) << error.message();
    }
    for (const auto& entry : fs::directory_iterator(folder_.path()))
      ASSERT_EQ(entry.path().string().find("out-"), std::string::npos) << entry.path() << " after " << made.text;
    made.dataset.write(output + "/", "parquet", {}, options);
    ASSERT_NO_FATAL_FAILURE(expect_alike(made, rows_that_come_out(Dataset::read(output, "parquet")), options));
    fs::remove_all(output);
  }
}

TEST_F(RandomPipelineTest, GiveTheSameFilesWhicheverWorkersMakeTheirParts) {
  Runtime runtime(RuntimeOptions{.num_cpus = 8});
  const PropertySeeds seeds = property_seeds(60);
  for (std::uint64_t seed = seeds.begin; seed < seeds.end; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Random random(seed, 3);
    const Case made = random_case_of_parts(random);
    const char* formats[] = {"csv", "jsonl", "parquet", "ipc"};
    const std::string format = formats[random.below(std::size(formats))];
    WriteOptions write{.resume = true, .part_rows = static_cast<std::int64_t>(1 + random.below(300))};
    if (random.below(4) == 0) write.partition_by = {"k"};
    const auto workers = [&] {
      return PartWorkersOptions{.num_workers = static_cast<int>(1 + random.below(8)), .actor = {.cpus = 1}};
    };
    const std::string alone = (folder_.path() / fmt::format("alone-{}", seed)).string();
    const std::string shared = (folder_.path() / fmt::format("shared-{}", seed)).string();
    const RunResult by_itself = made.dataset.write(alone, format, write, random_run(random));
    dataset_of_workers = made.dataset;
    const RunResult result =
        write_in_workers<&shared_dataset>(runtime, shared, format, write, random_run(random), workers());
    ASSERT_EQ(result.rows, static_cast<std::int64_t>(made.rows.size())) << made.text;
    ASSERT_EQ(result.manifest, by_itself.manifest) << made.text;
    const auto files = files_of(alone);
    ASSERT_EQ(files_of(shared), files) << made.text;
    // Some parts are lost, and made again by other workers.
    std::size_t lost = 0;
    for (const auto& [name, bytes] : files) lost += random.below(3) == 0 && fs::remove(fs::path(shared) / name) ? 1 : 0;
    const RunResult again =
        write_in_workers<&shared_dataset>(runtime, shared, format, write, random_run(random), workers());
    ASSERT_EQ(again.rows + again.rows_before, result.rows) << made.text;
    ASSERT_EQ(again.rows_before == result.rows, lost == 0 || again.rows == 0) << made.text;
    ASSERT_EQ(files_of(shared), files) << made.text;
    ASSERT_TRUE(fs::exists(fs::path(shared) / "_SUCCESS"));
  }
}

}  // namespace
}  // namespace mobula::data
