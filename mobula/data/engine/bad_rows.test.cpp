#include "mobula/data/engine/bad_rows.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/data/dataset.hpp"
#include "mobula/data/preprocess/preprocessor.hpp"
#include "mobula/data/rows/map_column.hpp"

namespace mobula::data {
namespace {

struct Id {
  std::int64_t id;
};

std::vector<std::int64_t> ids_of(const Dataset& dataset, const RunOptions& options) {
  std::vector<std::int64_t> ids;
  for (const auto& batch : dataset.select({"id"}).collect(options)) {
    for (const Id& row : rows_of<Id>(batch)) ids.push_back(row.id);
  }
  return ids;
}

class BadRowsTest : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    write_file_atomic(path(name), text);
    return path(name);
  }
  static std::string message_of(const std::function<void()>& run) {
    try {
      run();
    } catch (const Error& error) {
      return error.message() + " | " + error.hint();
    }
    return "nothing was refused";
  }

  TemporaryDirectory folder_;
};

TEST_F(BadRowsTest, SkipsRowsOnWhichExpressionsFail) {
  std::string text = "id,s\n";
  for (int i = 0; i < 3000; ++i) text += fmt::format("{},{}\n", i, i % 1000 == 7 ? "seven" : std::to_string(i));
  const auto csv = write("a.csv", text);
  RunOptions options;
  options.on_error = {.max_skipped = 6, .dead_letter = path("dead.jsonl")};
  const auto rows = Dataset::read(csv)
                        .filter("id != 5")
                        .with({{"n", "cast(s, 'int64')"}, {"m", "4611686018427387904 * if(id == 2007, 2, 1)"}})
                        .filter("9223372036854775807 + if(n == 11, 1, 0) > 0");
  const auto ids = ids_of(rows, options);
  EXPECT_EQ(ids.size(), 3000U - 5);
  for (const std::int64_t bad : {5, 7, 11, 1007, 2007}) EXPECT_EQ(std::count(ids.begin(), ids.end(), bad), 0) << bad;
  EXPECT_EQ(ids, ids_of(rows, {.num_threads = 1, .on_error = {.max_skipped = 4}}));
  const std::string dead = read_file(path("dead.jsonl"));
  EXPECT_EQ(std::count(dead.begin(), dead.end(), '\n'), 4) << dead;
  EXPECT_NE(dead.find(R"(a.csv: row 1008","operator":"with(n = cast(s, 'int64'))"), std::string::npos) << dead;
  EXPECT_NE(dead.find(R"("row":{"id":1007,"s":"seven"})"), std::string::npos) << dead;
  EXPECT_NE(dead.find("a.csv: row 12\",\"operator\":\"filter("), std::string::npos) << dead;
  options.on_error.max_skipped = 3;
  EXPECT_NE(message_of([&] { rows.count(options); }).find("(after 3 rows that were skipped) | raise on_error.skip"),
            std::string::npos);
  EXPECT_NE(message_of([&] { rows.count(); }).find("a.csv: row 8: with(n = cast(s, 'int64')"), std::string::npos)
      << message_of([&] { rows.count(); });
}

TEST_F(BadRowsTest, SkipsRowsOnWhichColumnFunctionsAndPreprocessorsFail) {
  const auto csv = write("a.csv", "id,c\n1,x\n2,y\n3,z\n4,x\n");
  RunOptions options;
  options.on_error = {.max_skipped = 2, .dead_letter = path("dead.jsonl")};
  const auto mapped = map_column<std::string>(Dataset::read(csv), "c", "d", [](const std::string& c) {
    if (c == "y") throw std::runtime_error("no y");
    return c + c;
  });
  EXPECT_EQ(ids_of(mapped, options), (std::vector<std::int64_t>{1, 3, 4}));
  const auto encoder = ordinal_encoder({"c"});
  encoder->fit(Dataset::read(csv).filter("c != 'z'"));
  EXPECT_EQ(ids_of(encoder->transform(mapped), options), (std::vector<std::int64_t>{1, 4}));
  const std::string dead = read_file(path("dead.jsonl"));
  EXPECT_NE(dead.find("a.csv: row 2\",\"operator\":\"map(function)\",\"reason\":\"no y\""), std::string::npos) << dead;
  EXPECT_NE(dead.find("a.csv: row 3\",\"operator\":\"map(ordinal"), std::string::npos) << dead;
  EXPECT_NE(message_of([&] { encoder->transform(Dataset::read(csv)).count(); }).find("a.csv: row 3: map(ordinal"),
            std::string::npos);
}

TEST_F(BadRowsTest, SkipsLinesOfTextThatAreNoUtf8) {
  const auto text = write("a.txt", "good\n\xff bad\n\nlast \xc3\xa9");
  RunOptions options;
  options.on_error = {.max_skipped = 1, .dead_letter = path("dead.jsonl")};
  const auto lengths = Dataset::read(text).with({{"n", "length(text)"}});
  EXPECT_EQ(lengths.filter("n in (4, 0, 6)").count(options).rows, 3);
  const Json dead = parse_json(read_file(path("dead.jsonl")), "dead letter");
  EXPECT_EQ(dead.at("where"), text + ": row 2");
  EXPECT_EQ(dead.at("reason"), "not valid UTF-8");
  EXPECT_EQ(dead.at("row"), "\xef\xbf\xbd bad");
  EXPECT_NE(message_of([&] { lengths.count(); }).find("a.txt: row 2: not valid UTF-8"), std::string::npos);
  WriteOptions parts;
  parts.resume = true;
  parts.part_rows = 2;
  EXPECT_EQ(lengths.write(path("out"), "jsonl", parts, options).rows, 3);
}

TEST_F(BadRowsTest, SkipsImagesThatCannotBeDecoded) {
  std::filesystem::create_directories(path("in"));
  const std::string pixel = "P5 1 1 255\n";
  write("in/a.pgm", pixel + "x");
  write("in/b.pgm", "P5 1 1 255");
  write("in/c.pgm", pixel + "z");
  RunOptions options;
  options.on_error = {.max_skipped = 1, .dead_letter = path("dead.jsonl")};
  const auto decoded = Dataset::read(path("in"), "images").decode_image({.grey = true, .resize = std::pair{1, 1}});
  EXPECT_EQ(decoded.filter("list_length(image) == 1").count(options).rows, 2);
  const std::string dead = read_file(path("dead.jsonl"));
  EXPECT_NE(dead.find("in/b.pgm\",\"operator\":\"decode_image(bytes -> 1 x 1)\""), std::string::npos) << dead;
  EXPECT_NE(message_of([&] { decoded.count(); }).find("in/b.pgm: decode_image(bytes"), std::string::npos);
}

}  // namespace
}  // namespace mobula::data
