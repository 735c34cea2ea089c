#include "mobula/cli/quickstart.hpp"

#include <memory>

#include "mobula/cli/commands.hpp"
#include "mobula/cli/plugin.hpp"

namespace mobula::cli {

void add_quickstart_command(CommandLine& line) {
  auto options = std::make_shared<QuickstartOptions>();
  CLI::App& command = line.add(
      nullptr, "quickstart", "Train on real text, kill a worker, resume, generate and serve",
      "  mobula quickstart\n"
      "  mobula quickstart --steps 200 --no-kill\n"
      "  mobula quickstart --data my.txt --out runs/mine --serve --port 8080",
      [&line, options] { return run_in_plugin(kTorchPlugin, "mobula_run_quickstart", *options, line.globals()); });
  command.add_option("--out", options->out, "Folder of the run (default runs/quickstart, numbered when taken)");
  command.add_option("--data", options->data, "Text to train on (default: tiny Shakespeare)");
  command.add_option("--workers", options->workers, "Worker processes")->capture_default_str();
  command.add_option("--steps", options->steps, "Training steps")->capture_default_str();
  command.add_flag("--no-kill", options->no_kill, "Leave out the kill of a worker");
  command.add_flag("--serve", options->serve, "Keep the server up at the end, until Ctrl-C");
  command.add_option("--port", options->port, "Port of the server (0: any free one)")->capture_default_str();
}

}  // namespace mobula::cli
