#include "mobula/data/plan/manifest.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/data/dataset.hpp"
#include "mobula/data/rows/typed_rows.hpp"

namespace mobula::data {
namespace {

class Manifest : public testing::Test {
 protected:
  Manifest() {
    write_file_atomic(path("a.jsonl"), "{\"t\": [1, 2]}\n{\"t\": [3]}\n");
    write_file_atomic(path("b.jsonl"), "{\"t\": [4]}\n");
    write_file_atomic(path("bad.jsonl"), "not json\n");
  }
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

  TemporaryDirectory folder_;
};

TEST_F(Manifest, TellsFilesRowsAndTokensOfARun) {
  RunOptions options;
  options.token_column = "t";
  options.manifest = path("manifest.json");
  const auto dataset = Dataset::read(path("*.jsonl")).exclude({"bad.*"}).filter("list_length(t) > 1").stage(2);
  EXPECT_EQ(dataset.stats(), "");
  EXPECT_EQ(dataset.count(options).rows, 1);
  EXPECT_NE(dataset.stats().find("filter(list_length(t) > 1)"), std::string::npos);
  const Json manifest = parse_json(read_file(options.manifest), "manifest");
  EXPECT_EQ(manifest["rows"], 1);
  ASSERT_EQ(manifest["sources"].size(), 1U);
  EXPECT_EQ(manifest["sources"][0]["rows"], 3);
  const Json& files = manifest["sources"][0]["files"];
  EXPECT_EQ(files[0], (Json{{"file", path("a.jsonl")}, {"read", 2}, {"rows", 1}, {"tokens", 2}}));
  EXPECT_EQ(files[1], (Json{{"file", path("b.jsonl")}, {"read", 1}, {"rows", 0}, {"tokens", 0}}));
}

TEST_F(Manifest, CountsRowsThatALimitCutsOffAsReadAndNotLeft) {
  const Json manifest = Dataset::read(path("*.jsonl")).exclude({"bad.*"}).limit(2).count().manifest;
  const Json& files = manifest[0]["files"];
  EXPECT_EQ(files[0]["rows"], 2);
  EXPECT_TRUE(files.size() == 1 || files[1]["rows"] == 0) << files;
}

TEST_F(Manifest, NamesEachSourceOfAJoinAndAUnion) {
  const auto ids = Dataset::range(10);
  const Json manifest = ids.join(Dataset::range(4), {"id"}).union_with({Dataset::range(3)}).count().manifest;
  std::vector<std::int64_t> rows;
  for (const Json& source : manifest) rows.push_back(source["rows"]);
  std::sort(rows.begin(), rows.end());
  EXPECT_EQ(rows, (std::vector<std::int64_t>{3, 4, 10}));
}

TEST_F(Manifest, RefusesToLeaveOutAllFiles) {
  try {
    Dataset::read(path("*.jsonl")).exclude({"*.jsonl"}).count();
    FAIL() << "nothing was refused";
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("left out by"), std::string::npos) << error.message();
  }
}

struct Id {
  std::int64_t id;
};

TEST(UnorderedRun, GivesAllRowsInAnyOrderWhereNobodyNeedsTheirs) {
  RunOptions options;
  options.num_threads = 4;
  options.ordered = false;
  const auto ids_of = [&](const Dataset& dataset) {
    std::vector<std::int64_t> ids;
    for (const auto& batch : dataset.collect(options)) {
      for (const Id& row : rows_of<Id>(batch)) ids.push_back(row.id);
    }
    return ids;
  };
  constexpr std::int64_t kRows = 300000;
  auto ids = ids_of(Dataset::range(kRows).stage(3).with({{"id", "id + 0"}}));
  std::sort(ids.begin(), ids.end());
  ASSERT_EQ(ids.size(), static_cast<std::size_t>(kRows));
  for (std::int64_t i = 0; i < kRows; ++i) ASSERT_EQ(ids[static_cast<std::size_t>(i)], i);
  ids = ids_of(Dataset::range(kRows).stage(3).limit(100000));
  ASSERT_EQ(ids.size(), 100000U);
  for (std::int64_t i = 0; i < 100000; ++i) ASSERT_EQ(ids[static_cast<std::size_t>(i)], i);
}

}  // namespace
}  // namespace mobula::data
