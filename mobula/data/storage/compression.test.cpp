#include "mobula/data/storage/compression.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "mobula/base/files.hpp"
#include "mobula/base/random.hpp"
#include "mobula/base/testing/refusal.hpp"

namespace mobula::data {
namespace {

std::string compressed(const std::string& compression, const std::string& content) {
  std::string out;
  Compressor compressor(compression, [&out](std::string_view bytes) { out.append(bytes); });
  compressor.append(std::string_view(content).substr(0, content.size() / 3));
  compressor.append(std::string_view(content).substr(content.size() / 3));
  compressor.finish();
  return out;
}

std::string content_of(const std::string& path) {
  ContentStream stream(path);
  std::string content;
  std::string piece(1000, '\0');
  while (const std::size_t got = stream.read(piece.data(), piece.size())) content.append(piece, 0, got);
  EXPECT_EQ(stream.position(), content.size());
  return content;
}

std::string named(std::string_view stem, const std::string& compression) {
  return fmt::format("{}{}", stem, extension_of_compression(compression));
}

class Compression : public ::testing::Test {
 protected:
  std::string write(const std::string& name, std::string_view bytes) const {
    const auto file = folder_.path() / name;
    write_file_atomic(file, bytes);
    return file.string();
  }
  static std::string lines(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += fmt::format("line {}\n", i % 997 * 7919 % 1000);
    return text;
  }

  TemporaryDirectory folder_;
};

TEST_F(Compression, GivesBackWhatWasCompressed) {
  const std::string content = lines(300000);
  for (const std::string& name : file_compressions()) {
    if (name == "none") continue;
    const std::string bytes = compressed(name, content);
    EXPECT_LT(bytes.size(), content.size() / 2) << name;
    EXPECT_EQ(compressed(name, content), bytes) << name;  // no time in it
    const std::string path = write(named("a.txt", name), bytes);
    EXPECT_EQ(compression_of(path), name);
    EXPECT_EQ(without_compression(path), path.substr(0, path.size() - extension_of_compression(name).size()));
    EXPECT_EQ(content_of(path), content) << name;
    EXPECT_EQ(content_of(write(named("b.txt", name), compressed(name, ""))), "") << name;
  }
  EXPECT_EQ(content_of(write("a.txt", content)), content);
}

TEST_F(Compression, MayBeGivenUpAtAnyTime) {
  for (const std::string& name : file_compressions()) {
    if (name == "none") continue;
    for (const std::size_t bytes : {0, 10, 5000000}) {
      std::size_t given = 0;
      {
        Compressor compressor(name, [&given](std::string_view piece) { given += piece.size(); });
        compressor.append(std::string(bytes, 'x'));
      }
      EXPECT_LT(given, bytes + 1) << name;
    }
    const auto full = [&] {
      Compressor compressor(name, [](std::string_view) { throw Error(ErrorCode::io, "the disk is full"); });
      for (int i = 0; i < 100; ++i) compressor.append(lines(20000 + i));
      compressor.finish();
    };
    EXPECT_EQ(refusal(full), "the disk is full") << name;
  }
}

TEST_F(Compression, ReadsFilesThatWerePutTogether) {
  // As pigz, bgzip and `cat a.gz b.gz` leave them.
  for (const std::string name : {"gzip", "bz2", "xz", "zstd"}) {
    const std::string path = write(named("a", name), compressed(name, "one\n") + compressed(name, "two\n"));
    EXPECT_EQ(content_of(path), "one\ntwo\n") << name;
  }
}

TEST_F(Compression, RefusesFilesThatAreDamagedOrNotWhatTheirNameSays) {
  const std::string content = lines(50000);
  for (const std::string& name : file_compressions()) {
    if (name == "none") continue;
    const std::string bytes = compressed(name, content);
    const std::string cut = write(named("cut.txt", name), bytes.substr(0, bytes.size() / 2));
    EXPECT_NE(refusal([&] { content_of(cut); }).find(cut), std::string::npos) << name;
    const std::string plain = write(named("plain.txt", name), content);
    EXPECT_NE(refusal([&] { content_of(plain); }).find(plain + ": not compressed as its name says (" + name),
              std::string::npos)
        << name;
  }
  EXPECT_EQ(content_of(write("empty.gz", "")), "");
  const std::string other = write("other.gz", compressed("zstd", content));
  EXPECT_NE(refusal([&] { content_of(other); }).find("not compressed as its name says (gzip)"), std::string::npos);
  EXPECT_NE(refusal([] { Compressor compressor("gzp", [](std::string_view) {}); }).find("'gzp'"), std::string::npos);
}

TEST_F(Compression, SurvivesAnyDamage) {
  Random random(17, 0);
  const std::string content = lines(2000);
  for (const std::string& name : file_compressions()) {
    if (name == "none") continue;
    const std::string bytes = compressed(name, content);
    for (int i = 0; i < 60; ++i) {
      std::string bad = bytes;
      for (std::uint64_t flips = 1 + random.below(4); flips > 0; --flips)
        bad[random.below(bad.size())] ^= static_cast<char>(1 << random.below(8));
      const std::string path = write(named("bad.txt", name), bad);
      const std::string why = refusal([&] { content_of(path); });
      EXPECT_TRUE(why == "accepted" || why.find(path) != std::string::npos) << why;
    }
  }
}

TEST_F(Compression, ReadsPiecesInAnyOrder) {
  const std::string content = lines(200000);
  const std::string path = write("a.gz", compressed("gzip", content));
  const auto piece = [&](std::uint64_t begin, std::uint64_t end) {
    std::string bytes(end - begin, '\0');
    bytes.resize(read_content(path, begin, end, bytes.data()));
    return bytes;
  };
  const auto expected = [&](std::uint64_t begin, std::uint64_t end) { return content.substr(begin, end - begin); };
  for (std::uint64_t begin = 0; begin < content.size(); begin += 100000)
    ASSERT_EQ(piece(begin, begin + 100000), expected(begin, begin + 100000)) << begin;
  Random random(3, 0);
  for (int i = 0; i < 20; ++i) {
    const std::uint64_t begin = random.below(content.size());
    ASSERT_EQ(piece(begin, begin + 777), expected(begin, begin + 777)) << begin;
  }
  EXPECT_EQ(piece(content.size() - 3, content.size() + 100), expected(content.size() - 3, content.size()));
  EXPECT_EQ(piece(content.size() + 5, content.size() + 100), "");
  const std::string other = lines(30);
  write("a.gz", compressed("gzip", other));
  EXPECT_EQ(piece(10, 20), other.substr(10, 10));  // no stream of the file that was there
}

}  // namespace
}  // namespace mobula::data
