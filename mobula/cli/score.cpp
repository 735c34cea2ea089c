#include "mobula/cli/score.hpp"

#include <memory>

#include "mobula/cli/commands.hpp"
#include "mobula/cli/plugin.hpp"

namespace mobula::cli {

void add_score_command(CommandLine& line) {
  auto options = std::make_shared<ScoreOptions>();
  CLI::App& score = line.add(
      nullptr, "score", "Print how likely a language model finds each token of a text",
      "  mobula score --model runs/quickstart/best --text 'To be, or not to be'\n"
      "  mobula score --model DIR --ids 5,17,3 --json\n"
      "  mobula score --model DIR --input ids.jsonl --json",
      [&line, options] { return run_in_plugin(kGeneratePlugin, "mobula_run_score", *options, line.globals()); });
  score.add_option("--model", options->model, "Folder of a checkpoint, or a file NAME.gguf")->required();
  score.add_option("--adapter", options->adapter, "Folder of an adapter in PEFT's format");
  score.add_option("--ids", options->ids, "Token ids, separated by commas")->delimiter(',');
  score.add_option("--text", options->text, "Text to score");
  score.add_option("--input", options->input, "File with an array of token ids a line (-: standard input)");
  score.add_option("--dtype", options->dtype, "fp32, bf16, int8 or int4 (default: the checkpoint's)");
}

}  // namespace mobula::cli
