/// The command line: one program, one file a command.
///
/// A command is `void add_NAME_command(CommandLine&)` in NAME.cpp: it declares its options, its help with
/// examples, and what runs. What needs libtorch or Arrow runs in a plugin (see plugin.hpp), so that `mobula
/// --version` starts in milliseconds.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

namespace mobula::cli {

/// Flags that every command takes.
struct GlobalOptions {
  bool json = false;   ///< results as JSON on standard output
  bool quiet = false;  ///< no progress, only warnings and errors
  std::string log_level = "info";
  // The runtime's flags; they reach Runtime through the environment (MOBULA_ENGINE ...).
  std::string engine;
  std::string isolation;
  std::string num_cpus;
  std::string memory;
  std::string spill_dir;
  std::string timeline;
  std::string metrics_port;
  std::string log_format;
  std::string spill_quota;
};

/// The program's commands and how they are run.
class CommandLine {
 public:
  CommandLine();

  /// Declares a command below `parent` (null: the program itself). `examples` stands at the end of its help,
  /// one command a line. `run` gets called when the command was chosen and its options are parsed; it returns
  /// the exit code.
  CLI::App& add(CLI::App* parent, std::string name, std::string description, std::string examples,
                std::function<int()> run);
  /// Declares a command that only holds others (`mobula runs list`).
  CLI::App& add_group(std::string name, std::string description);

  CLI::App& root() { return root_; }
  const GlobalOptions& globals() const { return globals_; }

  /// Parses and runs. Prints errors as `error: ...` and `hint: ...`; returns the exit code (2: wrong usage).
  int run(int argc, char** argv);

 private:
  void add_global_options(CLI::App& command);
  void apply_globals() const;

  CLI::App root_;
  GlobalOptions globals_;
  std::function<int()> chosen_;
};

}  // namespace mobula::cli
