#include "mobula/cli/generate.hpp"

#include <fmt/format.h>

#include <memory>

#include "mobula/cli/commands.hpp"
#include "mobula/cli/plugin.hpp"

namespace mobula::cli {

void add_generate_command(CommandLine& line) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App& command = line.add(
      nullptr, "generate", "Continue prompts with a language model",
      "  mobula generate --model runs/quickstart/best --prompt 'To be' --max-tokens 40\n"
      "  mobula generate --model runs/quickstart/best --prompt 'To be' --temperature 0 --stop '\\n' --json\n"
      "  mobula generate --model DIR --input prompts.jsonl --output answers.jsonl --top-p 0.9 --seed 7",
      [&line, options] { return run_in_plugin(kGeneratePlugin, "mobula_run_generate", *options, line.globals()); });
  command.add_option("--model", options->model, "Folder of a checkpoint, or a file NAME.gguf")->required();
  command
      .add_option("--adapter", options->adapters,
                  "Folder of an adapter in PEFT's format; several: NAME=DIR each, which lines of --input name")
      ->allow_extra_args(false);
  command.add_option("--prompt", options->prompt, "Text to continue");
  command.add_option("--ids", options->ids, "Token ids to continue, separated by commas")->delimiter(',');
  command.add_option("--messages", options->messages,
                     "File of a conversation to answer by the model's chat template: a JSON array of {\"role\", "
                     "\"content\"}, or an object with \"messages\", \"tools\", \"documents\"");
  command.add_option("--tools", options->tools, "File of tools (a JSON array) that conversations show to the model");
  command.add_option(
      "--input", options->input,
      "File of prompts (-: standard input), a JSON object a line: \"prompt\", \"ids\" or \"messages\", and "
      "options of its own such as \"seed\"");
  command.add_option("--output", options->output, "File for the answers, a JSON object a line");
  command.add_option("--max-tokens", options->max_tokens,
                     fmt::format("Most tokens to write [the checkpoint's, else {}]", kDefaultMaxTokens));
  command.add_option("--temperature", options->temperature,
                     "0 takes the likeliest token [the checkpoint's, else 1; so with the options that follow]");
  command.add_option("--top-k", options->top_k, "Draw from the k likeliest; 0 and [else]: all");
  command.add_option("--top-p", options->top_p, "Draw from the likeliest that have this probability together [else 1]");
  command.add_option("--min-p", options->min_p, "Leave out what is less likely than this times the likeliest [else 0]");
  command.add_option("--typical-p", options->typical_p,
                     "Draw from the most typical that have this probability together [else 1]");
  command.add_option("--repetition-penalty", options->repetition_penalty,
                     "Above 1: what stood before gets less likely [else 1]");
  command.add_option("--no-repeat-ngram", options->no_repeat_ngram,
                     "Write no run of n tokens twice; 0 and [else]: off");
  command
      .add_option("--generation-config", options->generation_config,
                  "Where a checkpoint's defaults come from: auto (its generation_config.json), none, a folder or file")
      ->capture_default_str();
  command.add_option("--presence-penalty", options->presence_penalty, "Taken off the score of what was written")
      ->capture_default_str();
  command.add_option("--frequency-penalty", options->frequency_penalty, "Taken off for each time it was written")
      ->capture_default_str();
  command
      .add_option("--logit-bias", options->logit_bias, "ID=BIAS: added to a token's score; may be given several times")
      ->allow_extra_args(false);
  command.add_option("--n", options->num_answers, "Answers to each prompt; their seeds count up")
      ->capture_default_str();
  command.add_option("--best-of", options->best_of, "Draw so many answers and give the --n likeliest");
  command.add_option("--logprobs", options->logprobs,
                     "Give each token's logprob, and so many of the likeliest (--json)");
  command.add_option("--seed", options->seed, "Seed of the random numbers")->capture_default_str();
  command.add_option("--stop", options->stop, "Text that ends the answer; may be given several times")
      ->allow_extra_args(false);
  command.add_option("--dtype", options->dtype, "fp32, bf16, int8 or int4 (default: the checkpoint's)");
  command.add_flag("--ignore-eos", options->ignore_eos, "Go on after an end-of-text token");
}

}  // namespace mobula::cli
