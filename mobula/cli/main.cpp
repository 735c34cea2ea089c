#include "mobula/cli/commands.hpp"

int main(int argc, char** argv) {
  mobula::cli::CommandLine line;
  mobula::cli::add_completion_command(line);
  return line.run(argc, argv);
}
