#include "mobula/data/feed/feed.hpp"

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>
#include <set>

#include "mobula/base/files.hpp"
#include "mobula/base/random.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/data/feed/batch_iterator.hpp"
#include "mobula/data/rows/tensor_view.hpp"
#include "mobula/data/rows/typed_rows.hpp"
#include "mobula/data/testing/property_seeds.hpp"

namespace mobula::data {
namespace {
namespace fs = std::filesystem;

std::vector<std::int64_t> integers(const RecordBatchPointer& batch, int column = 0) {
  const auto& array = static_cast<const arrow::Int64Array&>(*batch->column(column));
  return {array.raw_values(), array.raw_values() + array.length()};
}

struct Tokens {
  std::int64_t id;
  std::vector<std::int32_t> ids;
};

class FeedTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  /// Writes `rows` numbers from `first` on, in one of the formats, in small pieces.
  SampleStore store(const std::string& format, std::int64_t first, std::int64_t rows) {
    const std::string name = path(fmt::format("{}-{}.{}", format, first, format == "ipc" ? "arrow" : format));
    WriteOptions write;
    write.row_group_rows = 64;
    auto numbers = Dataset::range(rows).with({{"id", fmt::format("id + {}", first)}});
    if (format == "text") numbers = numbers.with({{"id", "cast(id, 'string')"}});
    numbers.write_file(name, format, write);
    ReadOptions read;
    read.piece_bytes = 300;
    auto dataset = Dataset::read(name, format, read);
    if (format == "text") dataset = dataset.with({{"text", "cast(text, 'int64')"}}).rename({{"text", "id"}});
    return SampleStore(dataset);
  }
  TemporaryDirectory folder_;
};

/// Runs a step on every rank and appends what all of them got, in the order of ranks; false at the end.
bool step(std::vector<Feed>& feeds, std::vector<std::int64_t>& got, int column = 0) {
  bool any = false;
  for (Feed& feed : feeds) {
    const auto batch = feed.next();
    if (!batch) continue;
    any = true;
    const auto values = integers(batch->rows, column);
    got.insert(got.end(), values.begin(), values.end());
  }
  return any;
}

TEST_F(FeedTest, GivesOneOrderOnAnyNumberOfWorkersThroughKillsAndResumes) {
  const PropertySeeds seeds = property_seeds(24);
  for (std::uint64_t seed = seeds.begin; seed < seeds.end; ++seed) {
    Random random(seed);
    const char* formats[] = {"parquet", "ipc", "csv", "jsonl", "text"};
    std::vector<FeedSource> sources;
    std::map<std::string, std::pair<std::int64_t, std::int64_t>> ranges;
    for (std::uint64_t i = 0; i < 1 + random.below(3); ++i) {
      const auto rows = static_cast<std::int64_t>(1 + random.below(300));
      const auto first = static_cast<std::int64_t>(seed * 10000 + i * 1000);
      sources.push_back({fmt::format("s{}", i),
                         std::make_shared<SampleStore>(store(formats[random.below(5)], first, rows)),
                         0.5 + random.uniform(), 1 + random.below(2)});
    }
    FeedOptions options{.batch_size = 1 + random.below(20),
                        .seed = seed,
                        .shuffle = random.below(4) != 0,
                        .window = random.below(3) * 40};
    options.prefetch = static_cast<int>(random.below(3));
    if (sources.size() > 1 && random.below(2) == 0) {
      std::vector<double> weights(sources.size(), 0.1);
      weights[0] = 3;
      options.curriculum = {{1 + random.below(8), weights}, {10, std::vector<double>(sources.size(), 1.0)}};
    }
    std::vector<std::int64_t> expected;
    std::vector<Feed> one;
    one.emplace_back(sources, options);
    while (step(one, expected)) {
    }
    std::uint64_t total = 0;
    for (const auto& source : sources) total += source.samples->num_rows() * source.epochs;
    ASSERT_EQ(expected.size(), total);
    Json cursor;
    std::vector<std::int64_t> got;
    bool more = true;
    while (more) {
      const int world_size = 1 + static_cast<int>(random.below(8));
      std::vector<Feed> feeds;
      for (int rank = 0; rank < world_size; ++rank)
        feeds.emplace_back(sources, options, FeedShare{rank, world_size}, cursor);
      for (std::uint64_t i = 0; more && i < 1 + random.below(5); ++i) more = step(feeds, got);
      for (const Feed& feed : feeds) ASSERT_EQ(feed.cursor(), feeds.front().cursor());
      cursor = parse_json(to_line(feeds.front().cursor()), "cursor");
    }
    ASSERT_EQ(got, expected) << "seed " << seed;
  }
}

TEST_F(FeedTest, PacksDocumentsAlikeOnAnyNumberOfWorkersThroughKillsAndResumes) {
  const PropertySeeds seeds = property_seeds(12);
  for (std::uint64_t seed = seeds.begin; seed < seeds.end; ++seed) {
    Random random(seed);
    std::vector<FeedSource> sources;
    for (std::uint64_t source = 0; source < 2; ++source) {
      std::vector<Tokens> documents;
      for (std::uint64_t i = 0; i < 20 + random.below(150); ++i) {
        Tokens document{static_cast<std::int64_t>(i), {}};
        const auto length = random.below(25);
        for (std::uint64_t token = 0; token < length; ++token)
          document.ids.push_back(static_cast<std::int32_t>(source * 100000 + i * 100 + token));
        documents.push_back(document);
      }
      sources.push_back({fmt::format("s{}", source),
                         std::make_shared<SampleStore>(Dataset::from_batches({batch_of(documents)})),
                         1 + random.uniform(), 1});
    }
    FeedOptions options{.batch_size = 1 + random.below(6), .seed = seed, .window = 0};
    options.pack_column = "ids";
    options.pack = {.length = 8 + random.below(8), .split_documents = random.below(2) == 0, .padding = -5};
    options.curriculum = {{3, {5, 0.1}}, {6, {1, 1}}};
    std::vector<std::int64_t> expected;
    std::vector<Feed> one;
    one.emplace_back(sources, options);
    const auto packed = [](std::vector<Feed>& feeds, std::vector<std::int64_t>& got) {
      bool any = false;
      for (Feed& feed : feeds) {
        const auto batch = feed.next();
        if (!batch) continue;
        any = true;
        for (const char* column : {"tokens", "document", "position"}) {
          const TensorView view = tensor_view(batch->rows, column);
          if (view.type == ElementType::int64)
            got.insert(got.end(), view.as<std::int64_t>(), view.as<std::int64_t>() + view.size());
        }
      }
      return any;
    };
    while (packed(one, expected)) {
    }
    std::multiset<std::int64_t> tokens;
    for (const std::int64_t token : expected) {
      if (token >= 0) tokens.insert(token);
    }
    std::size_t num_tokens = 0;
    for (const auto& source : sources) {
      std::vector<std::uint64_t> all(source.samples->num_rows());
      std::iota(all.begin(), all.end(), 0);
      for (const Tokens& document : rows_of<Tokens>(source.samples->take(all))) {
        for (const std::int32_t token : document.ids) ASSERT_EQ(tokens.count(token), 1u);
        num_tokens += document.ids.size();
      }
    }
    ASSERT_EQ(tokens.size(), num_tokens);
    Json cursor;
    std::vector<std::int64_t> got;
    bool more = true;
    while (more) {
      const int world_size = 1 + static_cast<int>(random.below(8));
      std::vector<Feed> feeds;
      for (int rank = 0; rank < world_size; ++rank)
        feeds.emplace_back(sources, options, FeedShare{rank, world_size}, cursor);
      for (std::uint64_t i = 0; more && i < 1 + random.below(3); ++i) more = packed(feeds, got);
      cursor = parse_json(to_line(feeds.back().cursor()), "cursor");
    }
    ASSERT_EQ(got, expected) << "seed " << seed;
  }
}

TEST_F(FeedTest, ResumesWithoutReadingWhatWasConsumed) {
  const auto samples = std::make_shared<SampleStore>(store("parquet", 0, 6400));
  FeedOptions options{.batch_size = 64, .seed = 3, .window = 64};
  options.prefetch = 0;
  Feed feed({{"s", samples, 1, 1}}, options);
  for (int i = 0; i < 90; ++i) feed.next();
  EXPECT_EQ(samples->num_pieces_read(), 90u);
  const auto fresh = std::make_shared<SampleStore>(Dataset::read(path("parquet-0.parquet")));
  Feed resumed({{"s", fresh, 1, 1}}, options, {}, feed.cursor());
  std::size_t rows = 0;
  while (const auto batch = resumed.next()) rows += integers(batch->rows).size();
  EXPECT_EQ(rows, 640u);
  EXPECT_EQ(fresh->num_pieces_read(), 10u);
}

TEST_F(FeedTest, SharesOneStoreAmongSplits) {
  auto feeds = streaming_split(Dataset::range(1000), 3, {.batch_size = 30, .seed = 1});
  std::vector<std::int64_t> got;
  while (step(feeds, got)) {
  }
  std::sort(got.begin(), got.end());
  ASSERT_EQ(got.size(), 1000u);
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], static_cast<std::int64_t>(i));
}

TEST_F(FeedTest, NamesWhatACursorDiffersIn) {
  const auto samples = std::make_shared<SampleStore>(Dataset::range(100));
  Feed feed({{"s", samples}}, {.batch_size = 4, .seed = 1});
  feed.next();
  EXPECT_EQ(refusal([&] {
              Feed({{"s", samples}}, {.batch_size = 4, .seed = 2}, {}, feed.cursor());
            }),
            "feed: the cursor's seed is 1, and 2 here");
  const auto other = std::make_shared<SampleStore>(Dataset::range(101));
  EXPECT_NE(refusal([&] {
              Feed({{"s", other}}, {.batch_size = 4, .seed = 1}, {}, feed.cursor());
            }).find("sources"),
            std::string::npos);
  EXPECT_NE(refusal([&] {
              Feed({{"s", samples}}, {.seed = 1}, {}, Json{{"version", 2}});
            }).find("version"),
            std::string::npos);
  EXPECT_NE(refusal([&] { Feed({{"s", samples}}, {}, {2, 2}); }).find("rank 2 of 2"), std::string::npos);
}

TEST_F(FeedTest, RefusesDatasetsWhoseRowsHaveNoNumbers) {
  EXPECT_EQ(refusal([] { SampleStore(Dataset::range(10).filter("id > 3")); }),
            "filter(id > 3): its rows have no numbers before it has run");
  EXPECT_EQ(refusal([] {
              SampleStore(Dataset::range(10).sort({{"id", true}}));
            }),
            "sort: its rows have no numbers before it has run");
}

TEST_F(FeedTest, KeepsAnIndexUntilAFileChanges) {
  write_file_atomic(path("a.jsonl"), "{\"id\": 1}\n\n{\"id\": 2}\n{\"id\": 3}\n");
  SampleStoreOptions options;
  options.index_file = path("index.json");
  EXPECT_EQ(SampleStore(Dataset::read(path("a.jsonl")), options).num_rows(), 3u);
  const std::string index = read_file(path("index.json"));
  write_file_atomic(path("index.json"),
                    index.substr(0, index.rfind("3]")) + "2]]}");  // believed while the file is the same
  EXPECT_EQ(SampleStore(Dataset::read(path("a.jsonl")), options).num_rows(), 2u);
  write_file_atomic(path("a.jsonl"), "{\"id\": 1}\n");
  EXPECT_EQ(SampleStore(Dataset::read(path("a.jsonl")), options).num_rows(), 1u);
  write_file_atomic(path("index.json"), "{");
  EXPECT_EQ(SampleStore(Dataset::read(path("a.jsonl")), options).num_rows(), 1u);
}

TEST_F(FeedTest, TellsWhenAFileChangedUnderIt) {
  const auto samples = store("csv", 0, 500);
  write_file_atomic(path("csv-0.csv"), "id\n1\n");
  EXPECT_NE(refusal([&] { samples.take(std::vector<std::uint64_t>{499}); }).find("csv-0.csv: ends at byte"),
            std::string::npos);
  EXPECT_NE(refusal([&] { samples.take(std::vector<std::uint64_t>{500}); }).find("row 500 of 500 rows"),
            std::string::npos);
}

TEST_F(FeedTest, IteratesOverBatchesOfOneSizeAndStopsEarly) {
  std::vector<std::int64_t> sizes;
  std::vector<std::int64_t> values;
  for (const auto& batch : iter_batches(Dataset::range(1000), {.batch_size = 300})) {
    sizes.push_back(batch->num_rows());
    for (const auto value : integers(batch)) values.push_back(value);
  }
  EXPECT_EQ(sizes, (std::vector<std::int64_t>{300, 300, 300, 100}));
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], static_cast<std::int64_t>(i));
  BatchIterator endless(Dataset::range(1'000'000'000), {.batch_size = 10});
  EXPECT_EQ(endless.next()->num_rows(), 10);
  auto failing = iter_batches(Dataset::read(path("none.csv")));
  EXPECT_NE(refusal([&] { failing.next(); }).find("none.csv: no such file"), std::string::npos);
}

}  // namespace
}  // namespace mobula::data
