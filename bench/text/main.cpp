// Tokenizers on tiny Shakespeare: Hugging Face's library trains the vocabularies, then everybody encodes the same text
// with the same files; the ids must be equal. JSON lines on standard output.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <thread>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/text/bpe_trainer.hpp"
#include "mobula/text/tokenizer.hpp"

#include "bench/text/long_line.hpp"

namespace mobula::bench {
namespace {

using text::TokenId;
using text::Tokenizer;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Returns what all threads together have computed so far, in seconds.
double processor_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// The fastest of some runs: by the clock, and by what the processors spent on it.
struct Best {
  double seconds = 1e9, processor = 1e9;
};

/// Measures as many runs as fit in the time.
template <class Run>
Best best_of(Run&& run, double least = 0.6) {
  Best best;
  for (double spent = 0; spent < least;) {
    const double begin = now(), processor = processor_seconds();
    run();
    const double took = now() - begin;
    best.seconds = std::min(best.seconds, took);
    best.processor = std::min(best.processor, processor_seconds() - processor);
    spent += took;
  }
  return best;
}

template <class Run>
double best_seconds(Run&& run, double least = 0.6) {
  return best_of(run, least).seconds;
}

void emit(std::string_view metric, double value, std::string_view unit, std::string_view name) {
  fmt::print(R"({{"bench": "text", "metric": "{}", "value": {:.4g}, "unit": "{}", "peer": "mobula", "case": "{}"}})"
             "\n",
             metric, value, unit, name);
  std::fflush(stdout);
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return lines;
}

// Encodes all texts kRounds times with so many threads, which take them in blocks: a few tens of megabytes, beside which
// starting the threads is nothing.
constexpr std::size_t kRounds = 8;
void encode_all(const Tokenizer& tokenizer, const std::vector<std::string_view>& texts, unsigned threads) {
  std::atomic<std::size_t> next{0};
  const std::size_t block = texts.size() > 100 ? 256 : 1;
  const std::size_t blocks = (texts.size() + block - 1) / block;
  const auto work = [&] {
    for (std::size_t number = next++; number < blocks * kRounds; number = next++) {
      const std::size_t begin = number % blocks * block;
      for (std::size_t i = begin; i < std::min(begin + block, texts.size()); ++i) tokenizer.encode(texts[i]);
    }
  };
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads; ++i) others.emplace_back(work);
  work();
  for (std::thread& each : others) each.join();
}

// Encodes a text as it comes in, in blocks of 64 kB, until there is a token.
void encode_first(const std::shared_ptr<const Tokenizer>& tokenizer, std::string_view text) {
  text::StreamEncoder encoder(tokenizer, false);
  std::vector<TokenId> ids;
  constexpr std::size_t kBlock = std::size_t{1} << 16;
  for (std::size_t at = 0; ids.empty() && at < text.size(); at += kBlock) encoder.push(text.substr(at, kBlock), ids);
  if (ids.empty()) encoder.finish(ids);
}

void run_peer(const std::string& arguments, unsigned threads) {
  std::fflush(stdout);
  const std::string command = fmt::format("RAYON_NUM_THREADS={} TOKENIZERS_PARALLELISM=true '{}' '{}' {}", threads,
                                          MOBULA_BENCH_PYTHON, MOBULA_BENCH_TEXT_PEER, arguments);
  if (std::system(command.c_str()) != 0) {
    throw Error(ErrorCode::unavailable, "the peers could not be run", "./dev setup --all installs them");
  }
}

std::vector<TokenId> read_ids(const std::filesystem::path& path) {
  std::vector<TokenId> ids;
  const std::string text = read_file(path);
  for (const std::string_view line : split_lines(text)) ids.push_back(std::atoi(std::string(line).c_str()));
  return ids;
}

int run(int argc, char** argv) {
  CLI::App app("Measures tokenizers beside Hugging Face's tokenizers and tiktoken");
  bool json = false;
  bool no_peers = false;
  app.add_flag("--json", json, "JSON lines (always on)");
  app.add_flag("--no-peers", no_peers, "Train the vocabularies with the peers, but don't measure them");
  bool only_long_line = false;
  app.add_flag("--long-line-only", only_long_line, "Measure nothing but a file that is one line of 1 GB");
  CLI11_PARSE(app, argc, argv);
  const char* data = std::getenv("MOBULA_DATA");
  const std::filesystem::path file =
      std::filesystem::path(data == nullptr ? "../shared/data" : data) / "tinyshakespeare.txt";
  const std::string text = read_file(file);
  const double megabytes = static_cast<double>(text.size()) / 1e6;
  const std::vector<std::string_view> lines = split_lines(text);
  const unsigned processors = std::max(1U, std::thread::hardware_concurrency());
  const TemporaryDirectory folder("bench_text");
  const std::string arguments = fmt::format("'{}' '{}'", file.string(), folder.path().string());
  run_peer("train " + arguments, processors);
  no_peers = no_peers || only_long_line;
  if (!no_peers) run_peer("measure " + arguments + " 1", 1);
  if (!no_peers && processors > 1) run_peer(fmt::format("measure {} {}", arguments, processors), processors);

  constexpr std::size_t kLongLine = 1'000'000'000;
  for (const char* name : {"gpt2_bpe", "wordpiece"}) {
    const LongLine line =
        tokenize_long_line(folder.path() / (std::string(name) + ".json"), text, kLongLine, folder.path());
    emit("line_1gb_peak_mb", line.peak_megabytes, "MB", name);
    emit("line_1gb_mb_per_s", line.megabytes_per_second, "MB/s", name);
  }
  if (only_long_line) return 0;

  emit("train_8k_s", best_seconds([&] { text::train_bpe(text, {.vocab_size = 8192}); }), "s", "gpt2_bpe");
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const auto& path : files) {
    const std::string name = path.stem().string();
    emit("load_ms", 1e3 * best_seconds([&] { Tokenizer::load(path); }, 0.2), "ms", name);
    const auto tokenizer = Tokenizer::load(path);
    const std::vector<TokenId> ids = tokenizer->encode(text);
    if (!no_peers && ids != read_ids(folder.path() / (name + ".ids"))) {
      throw_internal(name + ": the ids differ from those of Hugging Face's tokenizers");
    }
    emit("first_token_ms", 1e3 * best_seconds([&] { encode_first(tokenizer, text); }, 0.1), "ms", name);
    const Best alone = best_of([&] { encode_all(*tokenizer, lines, 1); });
    emit("encode_mb_per_s_1t", megabytes * kRounds / alone.seconds, "MB/s", name + "/lines");
    emit("encode_mb_per_s_1t", megabytes / best_seconds([&] { tokenizer->encode(text); }), "MB/s", name + "/whole");
    emit("decode_mb_per_s", megabytes / best_seconds([&] { tokenizer->decode(ids); }), "MB/s", name);
    if (processors == 1) continue;
    const std::vector<std::string_view> copies(processors, text);
    const Best together = best_of([&] { encode_all(*tokenizer, lines, processors); });
    emit("encode_mb_per_s_all", megabytes * kRounds / together.seconds, "MB/s", name + "/lines");
    // What the threads cost one another: 1 where the same work takes no more processor time than with one of them.
    emit("encode_all_processor_time", together.processor / alone.processor, "", name + "/lines");
    emit("encode_mb_per_s_all",
         megabytes * kRounds * processors / best_seconds([&] { encode_all(*tokenizer, copies, processors); }), "MB/s",
         name + "/whole");
  }
  return 0;
}

}  // namespace
}  // namespace mobula::bench

int main(int argc, char** argv) {
  try {
    return mobula::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::fputs(mobula::describe(error).c_str(), stderr);
    return 1;
  }
}
