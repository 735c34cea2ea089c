#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/progress.hpp"
#include "mobula/cli/command_line.hpp"
#include "mobula/cli/continuation.hpp"
#include "mobula/cli/generate.hpp"
#include "mobula/cli/language_model.hpp"

namespace mobula::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxInFlight = 128;

struct Prompt {
  std::optional<std::string> text;  // absent where ids were given
  std::vector<nn::TokenId> ids;
};

nn::SamplingOptions sampling_of(const GenerateOptions& o) {
  nn::SamplingOptions sampling{.max_tokens = o.max_tokens,
                               .temperature = o.temperature,
                               .top_k = o.top_k,
                               .top_p = o.top_p,
                               .min_p = o.min_p,
                               .typical_p = o.typical_p,
                               .repetition_penalty = o.repetition_penalty,
                               .presence_penalty = o.presence_penalty,
                               .frequency_penalty = o.frequency_penalty,
                               .no_repeat_ngram = o.no_repeat_ngram,
                               .seed = o.seed,
                               .ignore_eos = o.ignore_eos};
  sampling.validate();
  return sampling;
}

std::vector<Prompt> read_prompts(const GenerateOptions& options, const text::Tokenizer* tokenizer) {
  const auto encode = [&](const std::string& text) {
    if (tokenizer == nullptr) {
      throw Error(ErrorCode::not_found, fmt::format("{}: no tokenizer.json", options.model),
                  "give token ids with --ids");
    }
    return Prompt{text, tokenizer->encode(text)};
  };
  if (!options.ids.empty()) return {{std::nullopt, {options.ids.begin(), options.ids.end()}}};
  if (options.prompt) return {encode(*options.prompt)};
  std::ifstream file(options.input);
  if (!file) throw Error(ErrorCode::not_found, fmt::format("{}: can't be opened", options.input));
  std::vector<Prompt> prompts;
  for (std::string line; std::getline(file, line);) {
    const std::string place = fmt::format("{}:{}", options.input, prompts.size() + 1);
    const Json json = parse_json(line, place);
    if (!json.is_object() || !json.contains("prompt") || !json["prompt"].is_string()) {
      throw_invalid(fmt::format("{}: expected an object with the string 'prompt'", place));
    }
    prompts.push_back(encode(json["prompt"].get<std::string>()));
  }
  return prompts;
}

Json to_json(const Prompt& prompt, const Answer& answer, bool has_text) {
  const double seconds = std::chrono::duration<double>(answer.end - answer.start).count();
  return {{"prompt", prompt.text ? Json(*prompt.text) : Json(prompt.ids)},
          {"text", has_text ? Json(answer.text) : Json(nullptr)},
          {"tokens", answer.tokens},
          {"finish_reason", nn::to_string(answer.finish)},
          {"prompt_tokens", prompt.ids.size()},
          {"completion_tokens", answer.tokens.size()},
          {"seconds", seconds},
          {"tokens_per_s", seconds > 0 ? static_cast<double>(answer.tokens.size()) / seconds : 0.0}};
}

void check_usage(const GenerateOptions& options) {
  if (options.prompt.has_value() + !options.ids.empty() + !options.input.empty() != 1) {
    throw_invalid("give one of --prompt, --ids and --input");
  }
}

// Runs all prompts, several at once, and calls `on_answer` in their order; `on_text` gets the first unfinished one's text
// as it becomes certain.
void answer_all(nn::GenerationEngine& engine, const std::shared_ptr<const text::Tokenizer>& tokenizer,
                const std::vector<Prompt>& prompts, const GenerateOptions& options,
                const std::function<void(const std::string&)>& on_text,
                const std::function<void(std::size_t, const Answer&)>& on_answer) {
  const InterruptGuard guard;
  const nn::SamplingOptions sampling = sampling_of(options);
  std::vector<std::unique_ptr<Continuation>> continuations(prompts.size());
  std::size_t submitted = 0, done = 0;
  while (done < prompts.size()) {
    for (; submitted < prompts.size() && submitted < done + kMaxInFlight; ++submitted) {
      auto& continuation = continuations[submitted];
      continuation = std::make_unique<Continuation>(tokenizer, options.stop);
      continuation->answer.start = Clock::now();
      try {
        engine.submit({.prompt = prompts[submitted].ids,
                       .sampling = sampling,
                       .adapter = options.adapter,
                       .on_token = [&continuation](const nn::TokenEvent& event) { return continuation->take(event); }});
      } catch (const Error& error) {
        if (options.input.empty()) throw;
        throw Error(error.code(), fmt::format("{}:{}: {}", options.input, submitted + 1, error.message()),
                    error.hint());
      }
    }
    engine.step();
    while (done < submitted) {
      Continuation& first = *continuations[done];
      on_text(first.fresh);
      first.fresh.clear();
      if (first.answer.finish == nn::FinishReason::none) break;
      if (first.answer.finish == nn::FinishReason::error) throw Error(ErrorCode::task_failed, first.answer.error);
      on_answer(done, first.answer);
      continuations[done++].reset();
    }
    InterruptGuard::check();
  }
}

int run(const GenerateOptions& options, const GlobalOptions& globals) {
  check_usage(options);
  sampling_of(options);
  const auto engine = load_engine(options.model, options.dtype, adapter_options(options.adapter));
  const auto tokenizer = load_tokenizer(options.model, engine->info().vocab_size);
  if (tokenizer == nullptr && !options.stop.empty()) throw_invalid("--stop needs a tokenizer, and the model has none");
  const std::vector<Prompt> prompts = read_prompts(options, tokenizer.get());

  if (!options.input.empty()) {
    std::optional<AtomicFile> file;
    if (!options.output.empty()) file.emplace(options.output);
    Progress progress("generating", prompts.size());
    answer_all(
        *engine, tokenizer, prompts, options, [](const std::string&) {},
        [&](std::size_t index, const Answer& answer) {
          const std::string line = to_line(to_json(prompts[index], answer, tokenizer != nullptr)) + "\n";
          if (file) {
            file->write(line);
          } else {
            progress.clear();
            fmt::print("{}", line);
          }
          progress.update(index + 1);
        });
    if (file) file->commit();
    return 0;
  }

  const Prompt& prompt = prompts.front();
  const bool stream = !globals.json && options.output.empty();
  if (stream && tokenizer != nullptr && engine->info().continues_prompt) {
    fmt::print("{}", prompt.text ? *prompt.text : tokenizer->decode(prompt.ids));
  }
  const auto print_piece = [&](const std::string& piece) {
    if (!stream || piece.empty()) return;
    fmt::print("{}", piece);
    std::fflush(stdout);
  };
  answer_all(*engine, tokenizer, prompts, options, print_piece, [&](std::size_t, const Answer& answer) {
    const std::string line = to_line(to_json(prompt, answer, tokenizer != nullptr)) + "\n";
    if (!options.output.empty()) {
      write_file_atomic(options.output, line);
    } else if (globals.json) {
      fmt::print("{}", line);
    } else if (tokenizer == nullptr) {
      fmt::print("{}\n", fmt::join(answer.tokens, ","));
    } else {
      fmt::print("\n");
    }
  });
  return 0;
}

}  // namespace
}  // namespace mobula::cli

extern "C" int mobula_run_generate(const void* options, const void* globals) {
  return mobula::cli::run(*static_cast<const mobula::cli::GenerateOptions*>(options),
                          *static_cast<const mobula::cli::GlobalOptions*>(globals));
}
