#include "mobula/cli/commands.hpp"
#include "mobula/cli/plugin.hpp"
#include "mobula/core/gang.hpp"

int main(int argc, char** argv) {
  mobula::cli::load_shared_plugin();
  mobula::serve_if_worker();
  mobula::cli::CommandLine line;
  mobula::cli::add_encode_commands(line);
  mobula::cli::add_quickstart_command(line);
  mobula::cli::add_train_command(line);
  mobula::cli::add_generate_command(line);
  mobula::cli::add_score_command(line);
  mobula::cli::add_logits_command(line);
  mobula::cli::add_model_commands(line);
  mobula::cli::add_hub_commands(line);
  mobula::cli::add_job_commands(line);
  mobula::cli::add_tokenize_command(line);
  mobula::cli::add_tokenizer_commands(line);
  mobula::cli::add_data_command(line);
  mobula::cli::add_completion_command(line);
  mobula::cli::add_serve_command(line);
  mobula::cli::add_runs_commands(line);
  mobula::cli::add_top_commands(line);
  return line.run(argc, argv);
}
