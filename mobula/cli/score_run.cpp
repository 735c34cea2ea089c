#include "mobula/cli/score.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/cli/command_line.hpp"
#include "mobula/cli/language_model.hpp"

namespace mobula::cli {
namespace {

constexpr std::size_t kMaxInFlight = 32;

// {"ids":[...],"logprobs":[null,...]}; nine digits tell any two single-precision numbers apart.
void print_json(const std::vector<nn::TokenId>& ids, const std::vector<double>& logprobs) {
  fmt::memory_buffer out;
  fmt::format_to(std::back_inserter(out), "{{\"ids\":[{}],\"logprobs\":[null", fmt::join(ids, ","));
  for (std::size_t i = 1; i < logprobs.size(); ++i) {
    if (std::isfinite(logprobs[i])) {
      fmt::format_to(std::back_inserter(out), ",{:.9g}", logprobs[i]);
    } else {
      fmt::format_to(std::back_inserter(out), ",null");
    }
  }
  fmt::print("{}]}}\n", fmt::to_string(out));
}

void print_table(const std::vector<nn::TokenId>& ids, const std::vector<double>& logprobs,
                 const text::Tokenizer* tokenizer) {
  double total = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::string token = tokenizer != nullptr ? tokenizer->id_to_token(ids[i]).value_or("") : "";
    if (i == 0) {
      fmt::print("{:>8} {:>12} {}\n", ids[i], "", token);
      continue;
    }
    total += logprobs[i];
    fmt::print("{:>8} {:>12.6f} {}\n", ids[i], logprobs[i], token);
  }
  if (ids.size() > 1) {
    const double mean = total / static_cast<double>(ids.size() - 1);
    fmt::print("total {:.6f}  mean {:.6f}  perplexity {:.4f}\n", total, mean, std::exp(-mean));
  }
}

int run(const ScoreOptions& options, const GlobalOptions& globals) {
  if (!options.ids.empty() + options.text.has_value() + !options.input.empty() != 1) {
    throw_invalid("give one of --ids, --text and --input");
  }
  nn::EngineOptions engine_options;
  if (!options.adapter.empty()) add_adapters({options.adapter}, engine_options);
  const std::string adapter = options.adapter.empty() ? "" : engine_options.adapters[0].name;
  auto engine = load_engine(options.model, options.dtype, std::move(engine_options));
  std::shared_ptr<const text::Tokenizer> tokenizer;
  if (options.text || !globals.json) tokenizer = load_tokenizer(options.model, engine->info().vocab_size);
  std::vector<std::vector<nn::TokenId>> rows;
  if (options.text) {
    if (tokenizer == nullptr)
      throw Error(ErrorCode::not_found, fmt::format("{}: no tokenizer.json", options.model), "use --ids");
    rows.push_back(tokenizer->encode(*options.text));
  } else if (!options.input.empty()) {
    rows = read_id_lines(options.input);
  } else {
    rows.emplace_back(options.ids.begin(), options.ids.end());
  }

  const InterruptGuard guard;
  struct Result {
    std::vector<double> logprobs;
    std::string error;
    bool done = false;
  };
  std::vector<Result> results(rows.size());
  std::size_t submitted = 0, printed = 0;
  while (printed < rows.size()) {
    for (; submitted < rows.size() && submitted < printed + kMaxInFlight; ++submitted) {
      Result& result = results[submitted];
      try {
        engine->submit({.prompt = rows[submitted],
                        .sampling = {.max_tokens = 0, .prompt_logprobs = true},
                        .adapter = adapter,
                        .on_token = [&result](const nn::TokenEvent& event) {
                          result = {event.prompt_logprobs, event.error, true};
                          return true;
                        }});
      } catch (Error& error) {
        if (options.input.empty()) throw;
        throw Error(error.code(), fmt::format("{}:{}: {}", options.input, submitted + 1, error.message()),
                    error.hint());
      }
    }
    engine->step();
    InterruptGuard::check();
    for (; printed < submitted && results[printed].done; ++printed) {
      Result& result = results[printed];
      if (!result.error.empty()) throw Error(ErrorCode::task_failed, result.error);
      if (globals.json) {
        print_json(rows[printed], result.logprobs);
      } else {
        print_table(rows[printed], result.logprobs, tokenizer.get());
      }
      result = {};
    }
  }
  return 0;
}

}  // namespace
}  // namespace mobula::cli

extern "C" int mobula_run_score(const void* options, const void* globals) {
  return mobula::cli::run(*static_cast<const mobula::cli::ScoreOptions*>(options),
                          *static_cast<const mobula::cli::GlobalOptions*>(globals));
}
