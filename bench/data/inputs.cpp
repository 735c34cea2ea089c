#include "inputs.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <iterator>
#include <string>
#include <vector>

#include "mobula/base/files.hpp"
#include "mobula/base/random.hpp"
#include "mobula/data/dataset.hpp"

namespace mobula::bench {
namespace fs = std::filesystem;
namespace {

constexpr int kParts = 8;

std::vector<std::string> make_words(Random& random) {
  std::vector<std::string> words(20000);
  for (std::string& word : words) {
    for (std::uint64_t i = 0; i < 1 + random.below(8); ++i) word += static_cast<char>('a' + random.below(26));
  }
  return words;
}

}  // namespace

fs::path input_folder() {
  const char* folder = std::getenv("MOBULA_BENCH_DIR");
  return folder != nullptr && *folder != '\0' ? fs::path(folder) : fs::temp_directory_path() / "mobula-bench-data";
}

void make_csv(const fs::path& folder) {
  if (fs::exists(folder / "csv" / "part-7.csv")) return;
  Random random(0);
  const auto words = make_words(random);
  std::int64_t id = 0;
  for (int part = 0; part < kParts; ++part) {
    std::string text = "id,x,y,k,s\n";
    while (text.size() < 37'300'000) {
      fmt::format_to(std::back_inserter(text), "{},{:.6f},{:.4f},{},{} {}\n", id++, random.uniform(),
                     random.normal() * 100, random.below(1000), words[random.below(words.size())],
                     words[random.below(words.size())]);
    }
    write_file_atomic(folder / "csv" / fmt::format("part-{}.csv", part), text);
  }
}

void make_text(const fs::path& folder) {
  if (fs::exists(folder / "text" / "part-7.txt")) return;
  Random random(1);
  const auto words = make_words(random);
  std::string scene;
  while (scene.size() < 1'100'000) {
    const std::uint64_t length = random.below(4) == 0 ? 0 : 10 + random.below(50);
    std::string line;
    while (line.size() < length) line += words[random.below(words.size())] + ' ';
    scene += line + '\n';
  }
  std::string text;
  while (text.size() < 24'500'000) text += scene;
  for (int part = 0; part < kParts; ++part) write_file_atomic(folder / "text" / fmt::format("part-{}.txt", part), text);
}

void make_many_files(const fs::path& folder) {
  if (fs::exists(folder / "many" / "9999.parquet")) return;
  data::Dataset::range(8).write_file((folder / "many" / "0000.parquet").string(), "parquet");
  for (int i = 1; i < 10000; ++i) {
    fs::copy_file(folder / "many" / "0000.parquet", folder / "many" / fmt::format("{:04}.parquet", i),
                  fs::copy_options::overwrite_existing);
  }
}

}  // namespace mobula::bench
