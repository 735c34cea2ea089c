#include "mobula/cli/hub.hpp"

#include <memory>

#include "mobula/cli/commands.hpp"
#include "mobula/cli/plugin.hpp"

namespace mobula::cli {

void add_hub_commands(CommandLine& line) {
  CLI::App& group = line.add_group("hub", "Bring models from a hub, and look after what was brought");
  auto pull = std::make_shared<HubPullOptions>();
  CLI::App& pull_command =
      line.add(&group, "pull", "Download a model into huggingface_hub's cache; print the folder",
               "  mobula hub pull ORG/NAME\n"
               "  mobula hub pull ORG/NAME@v1.0 --include '*.safetensors' --include '*.json'\n"
               "  mobula generate --model $(mobula hub pull ORG/NAME --quiet) --prompt 'To be'",
               [&line, pull] { return run_in_plugin(kHubPlugin, "mobula_run_hub_pull", *pull, line.globals()); });
  pull_command.add_option("repo", pull->repo, "ORG/NAME, with @REVISION for a branch, tag or commit")->required();
  pull_command.add_option("--include", pull->include, "Pattern of files to bring; may be given several times")
      ->allow_extra_args(false);
  pull_command.add_option("--exclude", pull->exclude, "Pattern of files to leave; may be given several times")
      ->allow_extra_args(false);
  line.add(&group, "ls", "List what is in the cache", "  mobula hub ls --json",
           [&line] { return run_in_plugin(kHubPlugin, "mobula_run_hub_ls", HubRemoveOptions{}, line.globals()); });
  auto remove = std::make_shared<HubRemoveOptions>();
  CLI::App& remove_command =
      line.add(&group, "rm", "Remove a model from the cache", "  mobula hub rm ORG/NAME",
               [&line, remove] { return run_in_plugin(kHubPlugin, "mobula_run_hub_rm", *remove, line.globals()); });
  remove_command.add_option("repo", remove->repo, "ORG/NAME")->required();
}

}  // namespace mobula::cli
