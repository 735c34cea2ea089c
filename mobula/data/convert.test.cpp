// What formats can and can't hold, and what damaged files do: nothing may crash, hang, or come out half.
#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/random.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/data/dataset.hpp"
#include "mobula/data/describe.hpp"
#include "mobula/data/formats.hpp"

namespace mobula::data {
namespace {

class ConvertTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  std::string write(const std::string& name, std::string_view content) const {
    write_file_atomic(path(name), content);
    return path(name);
  }
  std::string convert(const std::string& from, const std::string& to, const ReadOptions& read = {},
                      const WriteOptions& write = {}) const {
    Dataset::read(path(from), "", read).write_file(path(to), format_of_path(to), write);
    return to.ends_with(".parquet") || to.ends_with(".arrow") ? "" : read_file(path(to));
  }
  std::string error_of(const std::string& from, const std::string& to, const ReadOptions& read = {}) const {
    return mobula::refusal_with_hint([&] { convert(from, to, read); });
  }
  TemporaryDirectory folder_;
};

TEST_F(ConvertTest, KeepsNullsAndEmptyStringsApartThroughEveryFormat) {
  const std::string csv = "a,b\n1,x\n2,\n3,\"\"\n4,\"q\"\"uote, and\nnewline\"\n";
  write("a.csv", csv);
  convert("a.csv", "a.parquet");
  convert("a.parquet", "b.arrow");
  EXPECT_EQ(convert("b.arrow", "c.jsonl"),
            "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":null}\n{\"a\":3,\"b\":\"\"}\n{\"a\":4,\"b\":\"q\\\"uote, "
            "and\\nnewline\"}\n");
  EXPECT_EQ(convert("c.jsonl", "d.csv"), csv);
}

TEST_F(ConvertTest, KeepsSixtyFourBitsExactly) {
  const std::string jsonl =
      "{\"i\":9223372036854775807,\"u\":18446744073709551615}\n{\"i\":-9223372036854775808,\"u\":0}\n";
  write("a.jsonl", jsonl);
  convert("a.jsonl", "a.parquet");
  EXPECT_EQ(convert("a.parquet", "b.jsonl"), jsonl);
  EXPECT_EQ(convert("b.jsonl", "c.csv"), "i,u\n9223372036854775807,18446744073709551615\n-9223372036854775808,0\n");
  EXPECT_EQ(convert("c.csv", "d.jsonl"), jsonl);
  write("long.csv", "n\n123456789012345678901234567890\n");
  EXPECT_EQ(convert("long.csv", "long.jsonl"), "{\"n\":\"123456789012345678901234567890\"}\n");
}

TEST_F(ConvertTest, RefusesToLoseDigitsInAColumnOfIntegersAndFractions) {
  write("a.jsonl", "{\"n\":9007199254740993}\n{\"n\":0.5}\n");
  EXPECT_NE(error_of("a.jsonl", "a.csv").find("row 1: 'n': 9007199254740993 is not float64"), std::string::npos);
}

TEST_F(ConvertTest, WritesTimesAsIso8601) {
  write("a.csv",
        "d,t,z\n2024-02-29,2024-02-29T12:00:00.25,2024-02-29T12:00:00+02:00\n1969-12-31,1969-12-31 "
        "23:59:59,1969-12-31T23:59:59Z\n");
  const std::string expected =
      "{\"d\":\"2024-02-29\",\"t\":\"2024-02-29T12:00:00.250000\",\"z\":\"2024-02-29T10:00:00Z\"}\n"
      "{\"d\":\"1969-12-31\",\"t\":\"1969-12-31T23:59:59\",\"z\":\"1969-12-31T23:59:59Z\"}\n";
  EXPECT_EQ(convert("a.csv", "a.jsonl"), expected);
  convert("a.csv", "a.parquet");
  EXPECT_EQ(convert("a.parquet", "b.jsonl"), expected);
}

TEST_F(ConvertTest, RefusesNanInJsonUnlessToldToWriteNull) {
  write("a.csv", "x\n1.5\nnan\n-inf\n");
  EXPECT_NE(error_of("a.csv", "a.jsonl").find("row 2: column 'x' holds nan, which JSON can't | pass --nan null"),
            std::string::npos);
  WriteOptions null;
  null.nan_as_null = true;
  EXPECT_EQ(convert("a.csv", "a.jsonl", {}, null), "{\"x\":1.5}\n{\"x\":null}\n{\"x\":null}\n");
  EXPECT_EQ(convert("a.csv", "b.csv"), "x\n1.5\nNaN\n-inf\n");
}

TEST_F(ConvertTest, RefusesNestedColumnsInCsvByName) {
  write("a.jsonl", "{\"a\":1,\"b\":[1,2]}\n");
  EXPECT_NE(error_of("a.jsonl", "a.csv").find("column 'b' is list"), std::string::npos);
  convert("a.jsonl", "a.parquet");
  EXPECT_EQ(convert("a.parquet", "b.jsonl"), "{\"a\":1,\"b\":[1,2]}\n");
}

TEST_F(ConvertTest, CountsNoBytesAsNoRowsWhereTheFormatAllows) {
  for (const char* name : {"a.txt", "a.jsonl", "a.csv", "a.parquet", "a.arrow"}) write(name, "");
  convert("a.txt", "t.parquet");
  EXPECT_EQ(Dataset::read(path("t.parquet")).count().rows, 0);
  EXPECT_EQ(convert("a.jsonl", "j.jsonl"), "");
  for (const char* name : {"a.csv", "a.parquet", "a.arrow"}) {
    EXPECT_NE(error_of(name, "x.jsonl").find(fmt::format("{}: empty", name)), std::string::npos) << name;
  }
}

TEST_F(ConvertTest, InfersOverAWindowAndNamesWhatDoesNotFitLater) {
  std::string text = "a,b\n";
  for (int i = 0; i < 1000; ++i) text += "1,2\n";
  write("a.csv", text + "x,2\n");
  ReadOptions window;
  window.infer_bytes = 100;
  EXPECT_NE(error_of("a.csv", "a.jsonl", window).find("row 1001: column 'a': \"x\" is not an int64"),
            std::string::npos);
  window.infer_all = true;
  EXPECT_NE(convert("a.csv", "a.jsonl", window).find("{\"a\":\"x\",\"b\":2}"), std::string::npos);
  ReadOptions fixed;
  fixed.types = {{"a", "string"}, {"b", "float64"}};
  fixed.infer_bytes = 100;
  EXPECT_NE(convert("a.csv", "b.jsonl", fixed).find("{\"a\":\"1\",\"b\":2.0}"), std::string::npos);
  fixed.types = {{"c", "string"}};
  EXPECT_NE(error_of("a.csv", "c.jsonl", fixed).find("names column 'c', which is not there"), std::string::npos);
}

TEST_F(ConvertTest, NamesFileAndRowOfBadUtf8) {
  write("a.csv", "a,b\n1,x\n2,\xFF\n");
  EXPECT_NE(error_of("a.csv", "x.jsonl").find("a.csv: row 2: field 2 is not valid UTF-8"), std::string::npos);
  write("a.txt", "one\ntwo\xC3\n");
  EXPECT_NE(error_of("a.txt", "x.jsonl").find("a.txt: row 2: not valid UTF-8"), std::string::npos);
  write("a.jsonl", "{\"a\":1}\n{\"a\":\"\xC3\"}\n");
  EXPECT_NE(error_of("a.jsonl", "x.csv").find("a.jsonl: row 2: "), std::string::npos);
}

TEST_F(ConvertTest, RefusesTextsThatALineCannotHold) {
  write("a.jsonl", "{\"text\":\"one\"}\n{\"text\":\"a\\nb\"}\n");
  EXPECT_NE(error_of("a.jsonl", "a.txt").find("row 2: column 'text' holds a newline"), std::string::npos);
  write("b.jsonl", "{\"text\":\"one\"}\n{\"text\":null}\n");
  EXPECT_NE(error_of("b.jsonl", "b.txt").find("row 2: column 'text' is null"), std::string::npos);
}

TEST_F(ConvertTest, KeepsLinesOfTextToTheByte) {
  const std::string text = "one\r\n\n  two \nlast without newline";
  write("a.txt", text);
  convert("a.txt", "a.parquet");
  EXPECT_EQ(convert("a.parquet", "b.txt"), text + "\n");
}

/// Reads a file whole; says what it threw, and fails the test where that is no Error.
std::string read_all(const std::string& file) {
  try {
    const auto result = Dataset::read(file).for_each([](const RecordBatchPointer& batch) {
      EXPECT_TRUE(batch->ValidateFull().ok());
      return true;
    });
    return fmt::format("{} rows", result.rows);
  } catch (const Error& error) {
    EXPECT_NE(error.message().find(file), std::string::npos) << error.message();
    EXPECT_NE(error.code(), ErrorCode::internal) << error.message();
    return error.message();
  }
}

TEST_F(ConvertTest, ReadsDamagedFilesWithAnErrorThatNamesTheFileAndNeverCrashes) {
  std::string csv = "id,x,s,t\n";
  for (int i = 0; i < 400; ++i)
    csv += fmt::format("{},{},\"text, {}\",2024-01-01T00:00:{:02}\n", i, i * 0.5, i % 7, i % 60);
  write("good.csv", csv);
  for (const char* name : {"good.parquet", "good.arrow", "good.jsonl"}) convert("good.csv", name);
  Random random(11);
  std::size_t num_refused = 0;
  for (const std::string extension : {"csv", "jsonl", "parquet", "arrow"}) {
    const std::string good = read_file(path("good." + extension));
    for (int round = 0; round < 250; ++round) {
      std::string bad = good;
      switch (random.below(4)) {
        case 0:
          bad.resize(random.below(bad.size()));
          break;
        case 1:
          for (std::uint64_t i = 0; i <= random.below(4); ++i)
            bad[random.below(bad.size())] = static_cast<char>(random.below(256));
          break;
        case 2: {  // a few bytes near the end, where Parquet and Arrow keep what the rest means
          const std::size_t tail = std::min<std::size_t>(bad.size(), 600);
          bad[bad.size() - 1 - random.below(tail)] = static_cast<char>(random.below(256));
          break;
        }
        default:
          bad.erase(random.below(bad.size()), 1 + random.below(16));
      }
      const std::string file = write("bad." + extension, bad);
      num_refused += read_all(file).find(" rows") == std::string::npos;
    }
  }
  EXPECT_GT(num_refused, 400u);
}

TEST_F(ConvertTest, RefusesJsonThatNestsTooDeepOrRepeatsAKey) {
  write("deep.jsonl", "{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}\n");
  EXPECT_NE(error_of("deep.jsonl", "x.parquet").find("row 1: not valid JSON"), std::string::npos);
  write("twice.jsonl", "{\"a\":1,\"a\":2}\n");
  EXPECT_NE(error_of("twice.jsonl", "x.csv").find("row 1: key 'a' appears twice"), std::string::npos);
  write("twice.csv", "a,a\n1,2\n");
  EXPECT_NE(error_of("twice.csv", "x.jsonl").find("column 'a' appears twice"), std::string::npos);
}

}  // namespace
}  // namespace mobula::data
