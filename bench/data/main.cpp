// The data engine against polars, pyarrow, HF datasets, mosaicml-streaming and torchvision, each case in a process of its own.
// Prints a table, or with --json one object a line: bench, metric, value, unit, peer. Peers run where $MOBULA_PEER_PYTHON (else
// the private folder's Python) has them; --no-peers leaves them out, --slow takes in those that take minutes.
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "inputs.hpp"
#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/data/blocks/process_memory.hpp"
#include "mobula/data/dataset.hpp"
#include "mobula/data/shards/sample_order.hpp"

namespace {

using namespace mobula;
using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

constexpr int kRepeats = 3;

bool as_json = false;

void report(const std::string& metric, double value, const char* unit, const std::string& peer) {
  if (as_json) {
    fmt::print("{}\n",
               to_line({{"bench", "data"}, {"metric", metric}, {"value", value}, {"unit", unit}, {"peer", peer}}));
  } else {
    fmt::print("{:<26} {:<8} {:>10.4g} {}\n", metric, peer, value, unit);
  }
  std::fflush(stdout);
}

struct Measurement {
  double seconds;
  double peak_mb;
};

/// Runs `body`, which returns seconds, in a child process. Throws where that fails.
Measurement in_child(const std::function<double()>& body) {
  int ends[2];
  if (::pipe(ends) != 0) throw_internal("pipe");
  const pid_t child = ::fork();
  if (child == 0) {
    double seconds = -1;
    try {
      seconds = body();
    } catch (const std::exception& error) {
      fmt::print(stderr, "{}\n", describe(error));
    }
    const bool written = ::write(ends[1], &seconds, sizeof(seconds)) == sizeof(seconds);
    ::_exit(written && seconds >= 0 ? 0 : 1);
  }
  ::close(ends[1]);
  double seconds = -1;
  const bool got = ::read(ends[0], &seconds, sizeof(seconds)) == sizeof(seconds);
  ::close(ends[0]);
  struct rusage usage {};
  ::wait4(child, nullptr, 0, &usage);
  if (!got || seconds < 0) throw Error(ErrorCode::task_failed, "a benchmark's process failed");
  return {seconds, static_cast<double>(usage.ru_maxrss) / 1024};
}

double seconds_of(const std::function<void()>& body) {
  const auto start = Clock::now();
  body();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Returns the median time and the largest memory of several runs.
Measurement measure(const std::function<void()>& body) {
  std::vector<Measurement> runs;
  for (int i = 0; i < kRepeats; ++i) runs.push_back(in_child([&body] { return seconds_of(body); }));
  std::sort(runs.begin(), runs.end(), [](const auto& a, const auto& b) { return a.seconds < b.seconds; });
  const double peak = std::max_element(runs.begin(), runs.end(), [](const auto& a, const auto& b) {
                        return a.peak_mb < b.peak_mb;
                      })->peak_mb;
  return {runs[runs.size() / 2].seconds, peak};
}

/// Keeps the result in memory, as the peers do.
void materialise(const data::Dataset& dataset, std::uint64_t memory) {
  data::RunOptions options;
  options.memory = memory;
  const auto batches = dataset.collect(options);
  if (batches.empty()) throw_internal("no rows");
}

/// Images a second, of the program beside this one and of torchvision.
void run_images(const std::string& python) {
  const fs::path program = fs::canonical("/proc/self/exe").parent_path();
  std::fflush(stdout);
  const std::string command = fmt::format("MOBULA_BIN='{}' '{}' '{}' 400{}", program.string(), python,
                                          MOBULA_IMAGES_SCRIPT, as_json ? " --json" : "");
  if (!fs::exists(program / "mobula") || std::system(command.c_str()) != 0)
    fmt::print(stderr, "images were left out: they need build/bin/mobula, and torchvision in {}\n", python);
}

void run_peers(const fs::path& folder, bool slow) {
  const char* chosen = std::getenv("MOBULA_PEER_PYTHON");
  const std::string python = chosen != nullptr ? chosen : MOBULA_PEER_PYTHON;
  const std::string command = fmt::format("'{}' '{}' '{}'{}{}", python, MOBULA_PEER_SCRIPT, folder.string(),
                                          as_json ? " --json" : "", slow ? " --slow" : "");
  std::fflush(stdout);
  if (std::system(command.c_str()) != 0) {
    fmt::print(stderr, "peers were left out: {} lacks some of them (./dev setup --all)\n", python);
  }
  run_images(python);
}

}  // namespace

int main(int argc, char** argv) {
  bool peers = true;
  bool slow = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--json") as_json = true;
    if (argument == "--no-peers") peers = false;
    if (argument == "--slow") slow = true;
  }
  data::keep_memory_warm();
  try {
    const fs::path folder = bench::input_folder();
    in_child([&folder] {
      return seconds_of(
          [&folder] { bench::make_csv(folder), bench::make_text(folder), bench::make_many_files(folder); });
    });
    const std::string output = (folder / "out").string() + "/";

    const auto csv = measure([&] {
      data::WriteOptions write;
      write.overwrite = true;
      data::Dataset::read((folder / "csv" / "*.csv").string())
          .filter("x > 0.5")
          .with({{"s", "upper(s)"}, {"x", "x * 2"}})
          .write(output, "parquet", write);
    });
    report("csv_to_parquet_s", csv.seconds, "s", "mobula");
    report("csv_to_parquet_peak_mb", csv.peak_mb, "MB", "mobula");
    const auto text = measure([&] {
      data::Dataset::read((folder / "text" / "*.txt").string())
          .with({{"text", "upper(text)"}})
          .with({{"len", "length(text)"}})
          .count();
    });
    report("text_map_count_s", text.seconds, "s", "mobula");
    report("text_map_count_peak_mb", text.peak_mb, "MB", "mobula");
    const auto kept = measure([&] {
      materialise(data::Dataset::read((folder / "text" / "*.txt").string())
                      .with({{"text", "upper(text)"}})
                      .with({{"len", "length(text)"}}),
                  std::uint64_t{1} << 30);
    });
    report("text_map_keep_s", kept.seconds, "s", "mobula");
    report("shuffle_10m_s", measure([] {
                              materialise(data::Dataset::range(10'000'000).random_shuffle(1), std::uint64_t{1} << 30);
                            }).seconds,
           "s", "mobula");
    const auto small = measure([] {
      data::RunOptions options;
      options.memory = 64 << 20;
      data::Dataset::range(10'000'000).random_shuffle(1).count(options);
    });
    report("shuffle_10m_64mb_s", small.seconds, "s", "mobula");
    report("shuffle_10m_64mb_peak_mb", small.peak_mb, "MB", "mobula");
    const auto first = measure([&] {
      data::Dataset::read((folder / "many").string(), "parquet").for_each([](const data::RecordBatchPointer&) {
        return false;
      });
    });
    report("first_batch_10k_files_s", first.seconds, "s", "mobula");
    for (const auto& [metric, samples] : {std::pair("resume_1e9_ms", 1'000'000'000), {"resume_1e7_ms", 10'000'000}}) {
      const std::uint64_t num_samples = static_cast<std::uint64_t>(samples);
      const auto resume = measure([num_samples] {
        const data::SampleOrder order({.num_samples = num_samples, .seed = 1});
        data::SampleStream stream(order, {.rank = 0, .world_size = 1, .batch_size = 1024}, num_samples / 2);
        if (stream.next().size() != 1024) throw_internal("no samples");
      });
      report(metric, resume.seconds * 1e3, "ms", "mobula");
    }
    fs::remove_all(output);
    if (peers) run_peers(folder, slow);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", describe(error));
    return 1;
  }
}
