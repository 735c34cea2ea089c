#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
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
#include "mobula/cli/generate_prompts.hpp"
#include "mobula/cli/language_model.hpp"
#include "mobula/cli/sampling_defaults.hpp"

namespace mobula::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxInFlight = 128;

Json to_json(const Prompt& prompt, std::size_t index, const Answer& answer, const GenerateOptions& options,
             bool has_text) {
  const double seconds = std::chrono::duration<double>(answer.end - answer.start).count();
  Json json = {{"prompt", prompt.text ? Json(*prompt.text) : Json(prompt.ids)},
               {"text", has_text ? Json(answer.text) : Json(nullptr)},
               {"tokens", answer.tokens},
               {"finish_reason", nn::to_string(answer.finish)},
               {"prompt_tokens", prompt.ids.size()},
               {"completion_tokens", answer.tokens.size()},
               {"seconds", seconds},
               {"tokens_per_s", seconds > 0 ? static_cast<double>(answer.tokens.size()) / seconds : 0.0}};
  if (options.num_answers > 1) json["index"] = index;
  if (options.logprobs) json["logprobs"] = answer.logprobs;
  if (options.logprobs.value_or(0) > 0) {
    Json& rows = json["top_logprobs"] = Json::array();
    for (const auto& likeliest : answer.likeliest) {
      Json& row = rows.emplace_back(Json::array());
      for (const auto& [id, logprob] : likeliest) row.push_back({{"id", id}, {"logprob", logprob}});
    }
  }
  return json;
}

void check_usage(const GenerateOptions& options, const GlobalOptions& globals) {
  if (options.prompt.has_value() + !options.ids.empty() + !options.messages.empty() + !options.input.empty() != 1) {
    throw_invalid("give one of --prompt, --ids, --messages and --input");
  }
  if (!options.tools.empty() && options.messages.empty() && options.input.empty()) {
    throw_invalid("--tools are for conversations: --messages or --input");
  }
  if (options.num_answers < 1) throw_invalid("--n is 0, expected at least 1");
  if (options.best_of > 0 && options.best_of < options.num_answers) {
    throw_invalid(fmt::format("--best-of {} is less than --n {}", options.best_of, options.num_answers));
  }
  const bool writes_json = globals.json || !options.output.empty() || !options.input.empty();
  if (options.logprobs && !writes_json) throw_invalid("--logprobs needs --json, which has a place for them");
}

double mean_logprob(const Answer& answer) {
  double sum = 0;
  for (const double logprob : answer.logprobs) sum += logprob;
  return answer.logprobs.empty() ? 0 : sum / static_cast<double>(answer.logprobs.size());
}

/// Gives pieces of text of the prompt whose answer is written first, where each has one answer.
using TextHandler = std::function<void(const std::string&)>;
/// Takes an answer: the prompt's index, and which of the prompt's answers it is.
using AnswerHandler = std::function<void(std::size_t, std::size_t, const Answer&)>;

/// Continues all prompts, several at once.
class Generation {
 public:
  Generation(nn::GenerationEngine& engine, std::shared_ptr<const text::Tokenizer> tokenizer,
             const std::vector<Prompt>& prompts, const GenerateOptions& options)
      : engine_(engine),
        tokenizer_(std::move(tokenizer)),
        prompts_(prompts),
        options_(options),
        num_candidates_(std::max(options.num_answers, options.best_of)),
        continuations_(prompts.size() * num_candidates_) {}

  /// Calls the handlers in the prompts' order.
  void run(const TextHandler& on_text, const AnswerHandler& on_answer) {
    const InterruptGuard guard;
    const std::size_t most_in_flight = std::max(kMaxInFlight, num_candidates_);
    std::size_t submitted = 0, done = 0;  // candidates
    while (done < continuations_.size()) {
      while (submitted < continuations_.size() && submitted < done + most_in_flight) submit(submitted++);
      engine_.step();
      while (done < continuations_.size() && finish_prompt(done / num_candidates_, submitted, on_text, on_answer)) {
        done += num_candidates_;
      }
      InterruptGuard::check();
    }
  }

 private:
  void submit(std::size_t candidate) {
    const std::size_t number = candidate / num_candidates_;
    const Prompt& prompt = prompts_[number];
    auto& continuation = continuations_[candidate];
    continuation = std::make_unique<Continuation>(tokenizer_, prompt.stop);
    continuation->answer.start = Clock::now();
    nn::SamplingOptions sampling = prompt.sampling;
    sampling.seed += candidate % num_candidates_;
    try {
      engine_.submit({.prompt = prompt.ids,
                      .sampling = std::move(sampling),
                      .adapter = prompt.adapter,
                      .on_token = [&continuation](const nn::TokenEvent& event) { return continuation->take(event); }});
    } catch (const Error& error) {
      if (options_.input.empty()) throw;
      throw Error(error.code(), fmt::format("{}:{}: {}", options_.input, number + 1, error.message()), error.hint());
    }
  }

  // Hands a prompt's answers over where all have come; else returns false.
  bool finish_prompt(std::size_t number, std::size_t submitted, const TextHandler& on_text,
                     const AnswerHandler& on_answer) {
    const std::size_t begin = number * num_candidates_;
    if (begin + num_candidates_ > submitted) return false;
    std::vector<Continuation*> candidates;
    for (std::size_t i = begin; i < begin + num_candidates_; ++i) candidates.push_back(continuations_[i].get());
    if (num_candidates_ == 1) {
      on_text(candidates[0]->fresh);
      candidates[0]->fresh.clear();
    }
    for (const Continuation* candidate : candidates) {
      if (candidate->answer.finish == nn::FinishReason::none) return false;
      if (candidate->answer.finish == nn::FinishReason::error)
        throw Error(ErrorCode::task_failed, candidate->answer.error);
    }
    if (num_candidates_ > options_.num_answers) {
      std::ranges::stable_sort(candidates, std::ranges::greater(),
                               [](const Continuation* c) { return mean_logprob(c->answer); });
    }
    for (std::size_t i = 0; i < options_.num_answers; ++i) on_answer(number, i, candidates[i]->answer);
    for (std::size_t i = begin; i < begin + num_candidates_; ++i) continuations_[i].reset();
    return true;
  }

  nn::GenerationEngine& engine_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  const std::vector<Prompt>& prompts_;
  const GenerateOptions& options_;
  std::size_t num_candidates_;  // of each prompt
  std::vector<std::unique_ptr<Continuation>> continuations_;
};

void answer_file(Generation& generation, const std::vector<Prompt>& prompts, const GenerateOptions& options,
                 bool has_text) {
  std::optional<AtomicFile> file;
  if (!options.output.empty()) file.emplace(options.output);
  Progress progress("generating", prompts.size());
  generation.run([](const std::string&) {},
                 [&](std::size_t number, std::size_t index, const Answer& answer) {
                   const std::string line = to_line(to_json(prompts[number], index, answer, options, has_text)) + "\n";
                   if (file) {
                     file->write(line);
                   } else {
                     progress.clear();
                     fmt::print("{}", line);
                   }
                   progress.update(number + 1);
                 });
  if (file) file->commit();
}

int run(const GenerateOptions& options, const GlobalOptions& globals) {
  check_usage(options, globals);
  const nn::SamplingDefaults defaults = load_sampling_defaults(options.model, options.generation_config);
  sampling_of(options, defaults);
  nn::EngineOptions engine_options;
  add_adapters(options.adapters, engine_options);
  const auto engine = load_engine(options.model, options.dtype, std::move(engine_options));
  const auto tokenizer = load_tokenizer(options.model, engine->info().vocab_size);
  if (tokenizer == nullptr && !options.stop.empty()) throw_invalid("--stop needs a tokenizer, and the model has none");
  const std::vector<Prompt> prompts = read_prompts(options, defaults, tokenizer.get(), engine->info());
  Generation generation(*engine, tokenizer, prompts, options);
  if (!options.input.empty()) {
    answer_file(generation, prompts, options, tokenizer != nullptr);
    return 0;
  }

  const Prompt& prompt = prompts.front();
  const bool plain = !globals.json && options.output.empty();
  const bool stream = plain && tokenizer != nullptr && options.num_answers == 1 && options.best_of <= 1;
  const bool shows_prompt = plain && tokenizer != nullptr && engine->info().continues_prompt && !prompt.is_chat;
  const std::string shown_prompt = !shows_prompt ? "" : prompt.text ? *prompt.text : tokenizer->decode(prompt.ids);
  bool opened = false;
  const auto print_piece = [&](const std::string& piece) {
    if (!stream || (opened && piece.empty())) return;
    fmt::print("{}{}", opened ? "" : shown_prompt, piece);
    std::fflush(stdout);
    opened = true;
  };
  std::string lines;
  generation.run(print_piece, [&](std::size_t, std::size_t index, const Answer& answer) {
    if (!plain) {
      lines += to_line(to_json(prompt, index, answer, options, tokenizer != nullptr)) + "\n";
    } else if (tokenizer == nullptr) {
      fmt::print("{}\n", fmt::join(answer.tokens, ","));
    } else if (stream) {
      fmt::print("\n");
    } else {
      fmt::print("{}{}\n", shown_prompt, answer.text);
    }
  });
  if (!options.output.empty()) {
    write_file_atomic(options.output, lines);
  } else {
    fmt::print("{}", lines);
  }
  return 0;
}

}  // namespace
}  // namespace mobula::cli

extern "C" int mobula_run_generate(const void* options, const void* globals) {
  return mobula::cli::run(*static_cast<const mobula::cli::GenerateOptions*>(options),
                          *static_cast<const mobula::cli::GlobalOptions*>(globals));
}
