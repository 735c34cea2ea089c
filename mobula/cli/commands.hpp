/// All commands of the program, one a line. A new command's file adds its line here and in main.cpp's list.
#pragma once

#include "mobula/cli/command_line.hpp"

namespace mobula::cli {

void add_completion_command(CommandLine& line);
void add_generate_command(CommandLine& line);
void add_data_command(CommandLine& line);
void add_encode_commands(CommandLine& line);
void add_hub_commands(CommandLine& line);
void add_job_commands(CommandLine& line);
void add_quickstart_command(CommandLine& line);
void add_runs_commands(CommandLine& line);
void add_serve_command(CommandLine& line);
void add_logits_command(CommandLine& line);
void add_model_commands(CommandLine& line);
void add_score_command(CommandLine& line);
void add_tokenize_command(CommandLine& line);
void add_tokenizer_commands(CommandLine& line);
void add_top_commands(CommandLine& line);
void add_train_command(CommandLine& line);

}  // namespace mobula::cli
