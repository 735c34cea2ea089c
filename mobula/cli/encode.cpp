#include "mobula/cli/encode.hpp"

#include <memory>

#include "mobula/cli/commands.hpp"
#include "mobula/cli/plugin.hpp"

namespace mobula::cli {
namespace {

void add_options(CLI::App& command, EncodeOptions& options) {
  command.add_option("--model", options.model, "Folder of an encoder's checkpoint")->required();
  command.add_option("--text", options.texts, "Text; may be given several times");
  command.add_option("--ids", options.ids, "Token ids, separated by commas, special tokens included")->delimiter(',');
  command.add_option("--input", options.input, "File with a text a line");
  command.add_option("--dtype", options.dtype, "fp32 or bf16 (default: the checkpoint's)");
}

}  // namespace

void add_encode_commands(CommandLine& line) {
  auto embedding = std::make_shared<EncodeOptions>();
  CLI::App& embed = line.add(
      nullptr, "embed", "Turn texts into vectors whose products say how alike they are",
      "  mobula embed --model DIR --text 'Attention is all you need' --json\n"
      "  mobula embed --model DIR --input titles.txt --json > vectors.jsonl\n"
      "  mobula embed --model DIR --text 'finding objects in photos' --input titles.txt --nearest 5",
      [&line, embedding] { return run_in_plugin(kTorchPlugin, "mobula_run_embed", *embedding, line.globals()); });
  add_options(embed, *embedding);
  embed.add_option("--nearest", embedding->nearest, "Print so many lines of --input that are most like each --text")
      ->check(CLI::Range(1, 100000));
  auto classifying = std::make_shared<EncodeOptions>();
  add_options(line.add(nullptr, "classify", "Print how likely a classifier finds each label for texts or their tokens",
                       "  mobula classify --model DIR --text 'Diffusion models for audio' --json\n"
                       "  mobula classify --model DIR --input titles.txt --json",
                       [&line, classifying] {
                         return run_in_plugin(kTorchPlugin, "mobula_run_classify", *classifying, line.globals());
                       }),
              *classifying);
}

}  // namespace mobula::cli
