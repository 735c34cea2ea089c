#include "mobula/cli/logits.hpp"

#include <memory>

#include "mobula/cli/commands.hpp"
#include "mobula/cli/plugin.hpp"

namespace mobula::cli {

void add_logits_command(CommandLine& line) {
  auto options = std::make_shared<LogitsOptions>();
  CLI::App& command =
      line.add(nullptr, "logits", "Print the raw output of a model's head",
               "  mobula logits --model DIR --ids 5,17,3 --json\n"
               "  mobula logits --model T5 --ids 5,17,1 --decoder-ids 0,8 --json\n"
               "  mobula logits --model VIT --image cat.png --json",
               [&line, options] { return run_in_plugin(kTorchPlugin, "mobula_run_logits", *options, line.globals()); });
  command.add_option("--model", options->model, "Folder of a checkpoint of any family")->required();
  command.add_option("--ids", options->ids, "Token ids, separated by commas")->delimiter(',');
  command.add_option("--decoder-ids", options->decoder_ids, "Token ids that an encoder-decoder's decoder reads")
      ->delimiter(',');
  command.add_option("--image", options->image, "Image that a vision model reads (PNG, JPEG, PPM, PGM)");
  command.add_option("--dtype", options->dtype, "fp32 or bf16 (default: the checkpoint's)");
}

}  // namespace mobula::cli
