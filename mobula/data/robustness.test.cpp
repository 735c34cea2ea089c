// Damaged files: every source reads something or refuses with an Error; nothing crashes. Seeds are fixed, so that a failure
// comes again; build with the asan preset and set MOBULA_PROPERTY_CASES=100000 to look for long.
#include <arrow/record_batch.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <sqlite3.h>

#include <filesystem>
#include <functional>
#include <random>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/data/dataset.hpp"
#include "mobula/data/testing/property_seeds.hpp"

namespace mobula::data {
namespace {
namespace fs = std::filesystem;

// Eight by eight pixels, as Pillow writes them.
constexpr const char* kPng =
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAANUlEQVR4nGNkYOXixwZYKioqsEowfvj6C7tERm4RdokHT19hl4iITcIuceHq"
    "LewSHr5BWCUA+DAWrZ28LtsAAAAASUVORK5CYII=";
constexpr const char* kJpeg =
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6jq62rZ4C8"
    "ybqmx5moq6T/wAALCAAIAAgBAREA/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQR"
    "BRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4"
    "eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/9oACAEB"
    "AAA/AEaOOKZWhRNjDoqqcH8A36mv/9k=";

std::string decoded(std::string_view base64) {
  std::string bytes(base64.size() / 4 * 3, '\0');
  const int size =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                      reinterpret_cast<const unsigned char*>(base64.data()), static_cast<int>(base64.size()));
  bytes.resize(static_cast<std::size_t>(size) -
               static_cast<std::size_t>(base64.ends_with("==") ? 2 : base64.ends_with('=')));
  return bytes;
}

/// Changes a file in one to four places.
std::string mutated(std::string bytes, std::mt19937_64& random) {
  const auto below = [&random](std::size_t bound) { return bound == 0 ? std::size_t{0} : random() % bound; };
  // Lengths and numbers at their edges, and what has a meaning in texts.
  static const std::vector<std::string> kPieces = {std::string(4, '\xff'),
                                                   std::string(4, '\0'),
                                                   std::string("\xff\xff\xff\x7f"),
                                                   std::string("\0\0\0\x80", 4),
                                                   std::string(8, '\xff'),
                                                   std::string(1, '\0'),
                                                   "\x80",
                                                   "\"",
                                                   ",",
                                                   "\n",
                                                   "{",
                                                   "}",
                                                   "[",
                                                   "-1",
                                                   "1e999",
                                                   "\xc3",
                                                   "9223372036854775808"};
  for (std::size_t change = below(4) + 1; change > 0; --change) {
    const std::size_t at = below(bytes.size() + 1);
    switch (below(6)) {
      case 0:
        if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 1:
        bytes.resize(at);
        break;
      case 2: {
        const std::string& piece = kPieces[below(kPieces.size())];
        bytes.replace(at, std::min(piece.size(), bytes.size() - at), piece);
        break;
      }
      case 3:
        bytes.insert(at, kPieces[below(kPieces.size())]);
        break;
      case 4:
        bytes.erase(at, below(64));
        break;
      default: {
        const std::string copy = bytes.substr(at, below(200));
        bytes.insert(below(bytes.size() + 1), copy);
        break;
      }
    }
  }
  return bytes;
}

class Robustness : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

  static Dataset rows() {
    return Dataset::range(400).with({{"x", "id / 7"},
                                     {"s", "if(id % 5 == 0, cast(null, 'string'), concat('text ', id))"},
                                     {"b", "id % 2 == 0"},
                                     {"small", "cast(id % 100, 'int32')"}});
  }

  /// Changes the file `name`, below what is read, again and again.
  void attack(const std::string& name, std::uint64_t cases, const std::function<Dataset()>& open) {
    const std::string whole = read_file(path(name));
    ASSERT_NO_THROW(open().count()) << "the file itself can't be read";
    const auto [begin, end] = property_seeds(cases);
    std::uint64_t refused = 0;
    for (std::uint64_t seed = begin; seed < end; ++seed) {
      std::mt19937_64 random(seed);
      write_file_atomic(path(name), mutated(whole, random));
      try {
        RunOptions options;
        options.num_threads = 2;
        for (const auto& batch : open().collect(options)) ASSERT_TRUE(batch->ValidateFull().ok()) << "seed " << seed;
      } catch (const Error& error) {
        ++refused;
        ASSERT_NE(error.code(), ErrorCode::internal) << "seed " << seed << ": " << error.message();
        ASSERT_FALSE(error.message().empty()) << "seed " << seed;
      } catch (const std::exception& other) {
        FAIL() << "seed " << seed << ": " << other.what();
      }
    }
    if (end - begin > 50) {
      EXPECT_GT(refused, 0U);
    }
  }
  void attack(const std::string& name, std::uint64_t cases, const std::string& format = {}) {
    attack(name, cases, [this, name, format] { return Dataset::read(path(name), format); });
  }

  TemporaryDirectory folder_;
};

TEST_F(Robustness, DamagedParquetIsReadOrRefused) {
  for (const char* codec : {"snappy", "none", "zstd"}) {
    WriteOptions options;
    options.compression = codec;
    options.row_group_rows = 150;
    rows().write_file(path("a.parquet"), "parquet", options);
    attack("a.parquet", 120);
  }
}

TEST_F(Robustness, DamagedCsvIsReadOrRefused) {
  rows().write_file(path("a.csv"), "csv");
  attack("a.csv", 200);
}

TEST_F(Robustness, DamagedJsonIsReadOrRefused) {
  rows().write_file(path("a.jsonl"), "jsonl");
  attack("a.jsonl", 200);
}

TEST_F(Robustness, DamagedTextIsReadOrRefused) {
  Dataset::range(300).with({{"text", "concat('line ', id)"}}).select({"text"}).write_file(path("a.txt"), "text");
  attack("a.txt", 200);
}

TEST_F(Robustness, DamagedArrowFilesAreReadOrRefused) {
  for (const char* codec : {"none", "zstd"}) {
    WriteOptions options;
    options.compression = codec;
    rows().write_file(path("a.arrow"), "ipc", options);
    attack("a.arrow", 150);
  }
}

TEST_F(Robustness, DamagedTarFilesAreReadOrRefused) {
  rows().select({"s", "id"}).rename({{"s", "txt"}, {"id", "cls"}}).limit(40).write_file(path("a.tar"), "tar");
  attack("a.tar", 150);
}

TEST_F(Robustness, DamagedMdsShardsAndIndexesAreReadOrRefused) {
  WriteOptions options;
  options.part_bytes = 4000;
  rows().filter("s is not null").drop({"b"}).write(path("mds/"), "mds", options);
  attack("mds/index.json", 150, [this] { return Dataset::read(path("mds"), "mds"); });
  write_file_atomic(path("mds/index.json"), "{}");
  fs::remove_all(path("mds"));
  rows().filter("s is not null").drop({"b"}).write(path("mds/"), "mds", options);
  // Without hashes nothing stands between a changed byte and the parser.
  std::string index = read_file(path("mds/index.json"));
  for (std::size_t at = index.find("\"xxh64\""); at != std::string::npos; at = index.find("\"xxh64\"", at)) {
    index.replace(at, 7, "\"other\"");
  }
  write_file_atomic(path("mds/index.json"), index);
  attack("mds/shard.00000.mds", 150, [this] { return Dataset::read(path("mds"), "mds"); });
}

TEST_F(Robustness, DamagedDeltaLogsAreReadOrRefused) {
  fs::create_directories(path("table/_delta_log"));
  Dataset::range(50).write_file(path("table/a.parquet"), "parquet");
  write_file_atomic(
      path("table/_delta_log/00000000000000000000.json"),
      "{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n"
      "{\"metaData\":{\"id\":\"t\",\"format\":{\"provider\":\"parquet\",\"options\":{}},\"schemaString\":\"{"
      "\\\"type\\\":"
      "\\\"struct\\\",\\\"fields\\\":[{\\\"name\\\":\\\"id\\\",\\\"type\\\":\\\"long\\\",\\\"nullable\\\":true,"
      "\\\"metadata\\\":{}}]}\",\"partitionColumns\":[],\"configuration\":{}}}\n"
      "{\"add\":{\"path\":\"a.parquet\",\"partitionValues\":{},\"size\":1,\"modificationTime\":1,\"dataChange\":true}}"
      "\n");
  attack("table/_delta_log/00000000000000000000.json", 200, [this] { return Dataset::read(path("table"), "delta"); });
}

TEST_F(Robustness, DamagedSqliteDatabasesAreReadOrRefused) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path("a.db").c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database,
                         "CREATE TABLE t (id INTEGER, s TEXT, b BLOB);"
                         "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) "
                         "INSERT INTO t SELECT i, 'text ' || i, randomblob(20) FROM n",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(database);
  attack("a.db", 200);
}

TEST_F(Robustness, DamagedImagesAreDecodedOrRefused) {
  const std::vector<std::pair<std::string, std::string>> images = {
      {"a.png", decoded(kPng)}, {"a.jpg", decoded(kJpeg)}, {"a.ppm", "P6\n4 4\n255\n" + std::string(48, 'x')}};
  for (const auto& [name, bytes] : images) {
    fs::create_directories(path("images"));
    write_file_atomic(path("images/" + name), bytes);
    DecodeImageOptions decode;
    decode.resize = {6, 6};
    attack("images/" + name, 150,
           [this, decode] { return Dataset::read(path("images"), "images").decode_image(decode); });
    fs::remove_all(path("images"));
  }
}

// The parser's memory grows with the line: with a simdjson of another version than its header's it would not.
TEST_F(Robustness, ReadsJsonLinesOfAnyLength) {
  const TemporaryDirectory folder;
  const std::string file = (folder.path() / "a.jsonl").string();
  std::string text;
  for (const std::size_t length : {1, 300000, 2, 700000}) text += "{\"t\": \"" + std::string(length, 'x') + "\"}\n";
  write_file_atomic(file, text);
  EXPECT_EQ(Dataset::read(file).filter("length(t) in (1, 2, 300000, 700000)").count().rows, 4);
}

}  // namespace
}  // namespace mobula::data
