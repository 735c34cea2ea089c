// Training speed against PyTorch: everybody starts from the same weights, sees the same tokens, and takes turns within
// one run, so that a busy machine slows all of them.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "bench/train/contestant.hpp"
#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/random.hpp"
#include "mobula/models/registry.hpp"

namespace mobula::bench {
namespace {

const std::vector<TrainingCase>& known_cases() {
  static const std::vector<TrainingCase> cases = {
      {.name = "nano", .layers = 4, .heads = 4, .width = 128, .context = 64, .vocabulary = 65, .batch = 12},
      {.name = "small", .layers = 6, .heads = 6, .width = 384, .context = 256, .vocabulary = 65, .batch = 12},
      {.name = "gpt2",
       .layers = 12,
       .heads = 12,
       .width = 768,
       .context = 512,
       .vocabulary = 50257,
       .batch = 4,
       .lr = 1e-4},
  };
  return cases;
}

struct Options {
  std::string shape = "nano";
  std::vector<std::string> precisions = {"fp32", "bf16"};
  std::vector<std::string> peers = {"eager", "compile"};
  int threads = 2;
  int rounds = 8;
  int steps = 25;
  int warm_up = 20;
  bool json = false;
};

// Windows of the text as characters' numbers; of a larger vocabulary, random ids.
void write_tokens(const TrainingInput& input) {
  const TrainingCase& shape = input.shape;
  std::vector<std::int64_t> text;
  const char* data = std::getenv("MOBULA_DATA");
  const std::filesystem::path file =
      std::filesystem::path(data == nullptr ? "../shared/data" : data) / "tinyshakespeare.txt";
  std::map<char, std::int64_t> numbers;
  const std::string characters = read_file(file);
  for (const char c : characters) numbers.emplace(c, 0);
  std::int64_t next = 0;
  for (auto& [character, number] : numbers) number = next++;
  Random random(1);
  for (const char c : characters) {
    text.push_back(next <= shape.vocabulary && shape.vocabulary < 256
                       ? numbers[c]
                       : static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(shape.vocabulary))));
  }
  AtomicFile out(input.tokens);
  for (std::int64_t i = 0; i < input.num_steps * shape.batch; ++i) {
    const auto begin = random.below(text.size() - static_cast<std::size_t>(shape.context) - 1);
    out.write({reinterpret_cast<const char*>(text.data() + begin),
               static_cast<std::size_t>(shape.context + 1) * sizeof(std::int64_t)});
  }
  out.commit();
}

struct Result {
  std::string name;
  StepRecord all;  // without the warm-up's times

  double best(double tokens) const { return tokens / *std::min_element(all.seconds.begin(), all.seconds.end()); }
  double median(double tokens) const {
    std::vector<double> sorted = all.seconds;
    std::sort(sorted.begin(), sorted.end());
    return tokens / sorted[sorted.size() / 2];
  }
};

// Losses part ways slowly through rounding; more than this after the warm-up is a difference in what is computed.
double tolerance(nn::Precision precision) {
  return precision == nn::Precision::fp32 ? 1e-3 : 2e-2;
}

void print(const Options& options, const TrainingInput& input, const Result& result, std::string_view statistic,
           double value) {
  if (options.json) {
    const Json line = {{"bench", "train"},
                       {"metric", "tokens_per_s"},
                       {"value", std::round(value)},
                       {"unit", "tokens/s"},
                       {"peer", result.name},
                       {"case", input.shape.name},
                       {"precision", std::string(nn::to_string(input.precision))},
                       {"statistic", std::string(statistic)},
                       {"threads", input.threads}};
    fmt::print("{}\n", to_line(line));
  } else {
    fmt::print("{:8} {:5} {:14} {:7} {:10.0f} tokens/s\n", input.shape.name, nn::to_string(input.precision),
               result.name, statistic, value);
  }
  std::fflush(stdout);
}

void run(const Options& options, TrainingInput input) {
  std::vector<std::unique_ptr<Contestant>> contestants;
  contestants.push_back(make_mobula(input));
  for (const std::string& peer : options.peers) {
    if (peer != "none") contestants.push_back(make_torch(input, peer));
  }

  std::vector<Result> results;
  for (const auto& contestant : contestants) {
    results.push_back({contestant->name(), contestant->run(options.warm_up)});
    const double ours = results.front().all.losses.back(), theirs = results.back().all.losses.back();
    fmt::print(stderr, "{}: loss {:.6f} after {} steps from the same weights\n", contestant->name(), theirs,
               options.warm_up);
    if (!(std::abs(ours - theirs) <= tolerance(input.precision) * theirs)) {
      throw Error(ErrorCode::internal,
                  fmt::format("{} has loss {} after {} steps where {} has {}", results.front().name, ours,
                              options.warm_up, contestant->name(), theirs));
    }
    results.back().all.seconds.clear();
  }
  for (int round = 0; round < options.rounds; ++round) {
    for (std::size_t i = 0; i < contestants.size(); ++i) {
      const StepRecord steps = contestants[i]->run(options.steps);
      // The first step of a turn finds cold caches and sleeping threads.
      results[i].all.seconds.insert(results[i].all.seconds.end(), steps.seconds.begin() + 1, steps.seconds.end());
    }
  }
  const auto tokens = static_cast<double>(input.shape.tokens_per_step());
  for (const Result& result : results) {
    print(options, input, result, "best", result.best(tokens));
    print(options, input, result, "median", result.median(tokens));
  }
}

void run_all(const Options& options) {
  const auto found = std::find_if(known_cases().begin(), known_cases().end(),
                                  [&](const TrainingCase& shape) { return shape.name == options.shape; });
  if (found == known_cases().end()) throw_invalid(fmt::format("case '{}' is unknown", options.shape));
  const TemporaryDirectory directory("mobula-bench-train");
  TrainingInput input{.shape = *found,
                      .threads = options.threads,
                      .checkpoint = directory.path() / "model",
                      .tokens = directory.path() / "tokens",
                      .num_steps = 64};
  write_tokens(input);
  models::save_causal_lm(*models::make_causal_lm(input.shape.config(), 1), input.checkpoint);
  for (const std::string& precision : options.precisions) {
    input.precision = nn::parse_precision(precision);
    run(options, input);
  }
}

}  // namespace

Json TrainingCase::config() const {
  return {{"model_type", "gpt2"}, {"vocab_size", vocabulary}, {"n_positions", context}, {"n_embd", width},
          {"n_layer", layers},    {"n_head", heads},          {"resid_pdrop", 0.0},     {"embd_pdrop", 0.0},
          {"attn_pdrop", 0.0},    {"eos_token_id", nullptr}};
}

}  // namespace mobula::bench

int main(int argc, char** argv) {
  mobula::bench::Options options;
  CLI::App app("Training speed of Mobula and of PyTorch on one model, in turns");
  app.add_option("--case", options.shape, "nano, small or gpt2")->capture_default_str();
  app.add_option("--precision", options.precisions, "fp32, bf16")->delimiter(',');
  app.add_option("--peers", options.peers, "eager, compile; none for Mobula alone")->delimiter(',');
  app.add_option("--threads", options.threads, "threads of each")->capture_default_str();
  app.add_option("--rounds", options.rounds, "turns of each")->capture_default_str();
  app.add_option("--steps", options.steps, "steps a turn")->capture_default_str();
  app.add_option("--warm-up", options.warm_up, "steps before the first turn")->capture_default_str();
  app.add_flag("--json", options.json, "one JSON object a line");
  CLI11_PARSE(app, argc, argv);
  try {
    mobula::bench::run_all(options);
  } catch (const std::exception& error) {
    std::fputs((mobula::describe(error) + "\n").c_str(), stderr);
    return 1;
  }
}
