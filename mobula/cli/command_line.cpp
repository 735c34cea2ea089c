#include "mobula/cli/command_line.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/log.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/base/progress.hpp"
#include "mobula/base/version.hpp"

namespace mobula::cli {
namespace {

constexpr int kWrongUsage = 2;

/// Returns the command that the words before the first mistake lead to: the one whose options were meant.
const CLI::App& deepest_parsed(const CLI::App& app) {
  for (const CLI::App* command : app.get_subcommands()) return deepest_parsed(*command);
  return app;
}

std::string command_path(const CLI::App& command) {
  std::string path = command.get_name();
  for (const CLI::App* parent = command.get_parent(); parent != nullptr; parent = parent->get_parent()) {
    path = parent->get_name() + " " + path;
  }
  return path;
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> command_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* child : command.get_subcommands({})) {
    if (!child->get_name().empty() && child->get_name().front() != '_') names.push_back(child->get_name());
  }
  return names;
}

/// Makes the hint of a usage error: the nearest option or command where something unknown was written.
std::string usage_hint(const CLI::App& command, const std::vector<std::string>& remaining) {
  for (const std::string& word : remaining) {
    if (word.rfind("--", 0) == 0) {
      if (auto meant = nearest(word.substr(0, word.find('=')), option_names(command))) {
        return fmt::format("did you mean '{}'?", *meant);
      }
    } else if (auto meant = nearest(word, command_names(command))) {
      return fmt::format("did you mean '{} {}'?", command_path(command), *meant);
    }
  }
  if (const std::vector<std::string> names = command_names(command);
      !names.empty() && command.get_parent() != nullptr) {
    return fmt::format("known: {}; see '{} --help'", fmt::join(names, ", "), command_path(command));
  }
  return fmt::format("see '{} --help'", command_path(command));
}

int report_usage(const CLI::App& root, const CLI::ParseError& error) {
  const CLI::App& command = deepest_parsed(root);
  const std::vector<std::string> remaining = root.remaining(true);
  std::string message = error.what();
  const bool is_group = !command_names(command).empty();
  if ((is_group || dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) && !remaining.empty()) {
    const bool option = remaining.front().rfind("-", 0) == 0;
    message = fmt::format("{}: unknown {} '{}'", command_path(command),
                          option ? "option" : (is_group ? "command" : "argument"), remaining.front());
  } else if (is_group && dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
    message = fmt::format("{}: a command is missing", command_path(command));
  }
  std::fputs(describe(Error(ErrorCode::invalid_argument, message, usage_hint(command, remaining))).c_str(), stderr);
  return kWrongUsage;
}

/// Refuses negative numbers where there are none: the parser would take them modulo 2^64.
void refuse_negative_counts(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_type_name().find("UINT") == std::string::npos) continue;
    option->check(CLI::Validator(
        [](const std::string& text) {
          return text.starts_with('-') ? fmt::format("{} is negative, expected a number from 0 on", text) : "";
        },
        ""));
  }
  for (CLI::App* child : app.get_subcommands({})) refuse_negative_counts(*child);
}

void set_environment(const char* name, const std::string& value) {
  if (!value.empty()) ::setenv(name, value.c_str(), 1);
}

}  // namespace

CommandLine::CommandLine()
    : root_("Mobula scales machine learning and LLM work from a laptop to a cluster.", "mobula") {
  root_.set_version_flag("--version", fmt::format("mobula {}", version()), "Print the version and exit");
  root_.get_formatter()->column_width(34);
  root_.footer("Start here:\n  mobula quickstart\n  mobula train --help");
}

CLI::App& CommandLine::add(CLI::App* parent, std::string name, std::string description, std::string examples,
                           std::function<int()> run) {
  CLI::App& command = *(parent == nullptr ? root_ : *parent).add_subcommand(std::move(name), std::move(description));
  if (!examples.empty()) {
    // A group shows the first example of each of its commands.
    if (parent != nullptr && parent != &root_) {
      const std::string before = parent->get_footer() == root_.get_footer() ? "Examples:" : parent->get_footer();
      parent->footer(before + "\n" + examples.substr(0, examples.find('\n')));
    }
    command.footer("Examples:\n" + std::move(examples));
  }
  add_global_options(command);
  command.callback([this, run = std::move(run)] { chosen_ = run; });
  return command;
}

CLI::App& CommandLine::add_group(std::string name, std::string description) {
  CLI::App& group = *root_.add_subcommand(std::move(name), std::move(description));
  group.require_subcommand(1);
  return group;
}

void CommandLine::add_global_options(CLI::App& command) {
  const std::string general = "General";
  command.add_flag("--json", globals_.json, "Print results as JSON")->group(general);
  command.add_flag("--quiet", globals_.quiet, "No progress, only warnings and errors")->group(general);
  command.add_option("--log-level", globals_.log_level, "debug, info, warning, error or off")->group(general);
  command.add_option("--log-format", globals_.log_format, "text or json [$MOBULA_LOG_FORMAT]")->group(general);
  const std::string runtime = "Runtime";
  command.add_option("--engine", globals_.engine, "local, ray://local|auto or ray://HOST:PORT [$MOBULA_ENGINE]")
      ->group(runtime);
  command.add_option("--isolation", globals_.isolation, "thread or process [$MOBULA_ISOLATION]")->group(runtime);
  command.add_option("--num-cpus", globals_.num_cpus, "Processors to use [$MOBULA_NUM_CPUS]")->group(runtime);
  command.add_option("--memory", globals_.memory, "Memory for objects, such as 4GB [$MOBULA_MEMORY]")->group(runtime);
  command.add_option("--spill-dir", globals_.spill_dir, "Folder objects spill to [$MOBULA_SPILL_DIR]")->group(runtime);
  command.add_option("--timeline", globals_.timeline, "File for a trace of every task [$MOBULA_TIMELINE]")
      ->group(runtime);
  command.add_option("--metrics-port", globals_.metrics_port, "Serve metrics for Prometheus [$MOBULA_METRICS_PORT]")
      ->group(runtime);
  command.add_option("--spill-quota", globals_.spill_quota, "Disk they may take, such as 100GB [$MOBULA_SPILL_QUOTA]")
      ->group(runtime);
}

void CommandLine::apply_globals() const {
  set_log_level(globals_.quiet && globals_.log_level == "info" ? LogLevel::warning
                                                               : parse_log_level(globals_.log_level));
  set_progress_enabled(!globals_.quiet);
  set_environment("MOBULA_ENGINE", globals_.engine);
  set_environment("MOBULA_ISOLATION", globals_.isolation);
  set_environment("MOBULA_NUM_CPUS", globals_.num_cpus);
  set_environment("MOBULA_MEMORY", globals_.memory);
  set_environment("MOBULA_SPILL_DIR", globals_.spill_dir);
  set_environment("MOBULA_TIMELINE", globals_.timeline);
  set_environment("MOBULA_METRICS_PORT", globals_.metrics_port);
  set_environment("MOBULA_LOG_FORMAT", globals_.log_format);
  if (!globals_.log_format.empty()) set_log_format(parse_log_format(globals_.log_format));
  set_environment("MOBULA_SPILL_QUOTA", globals_.spill_quota);
}

int CommandLine::run(int argc, char** argv) {
  refuse_negative_counts(root_);
  try {
    root_.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const CLI::App& command = deepest_parsed(root_);
    const CLI::App* parent = command.get_parent();
    std::fputs(command.help(parent == nullptr ? "" : command_path(*parent)).c_str(), stdout);
    return 0;
  } catch (const CLI::CallForAllHelp&) {
    std::fputs(root_.help("", CLI::AppFormatMode::All).c_str(), stdout);
    return 0;
  } catch (const CLI::CallForVersion& version_text) {
    fmt::print("{}\n", version_text.what());
    return 0;
  } catch (const CLI::ParseError& error) {
    return report_usage(root_, error);
  }
  if (!chosen_) {
    std::fputs(root_.help().c_str(), stderr);
    return kWrongUsage;
  }
  try {
    apply_globals();
    return chosen_();
  } catch (const Error& error) {
    std::fputs(describe(error).c_str(), stderr);
    return exit_code(error.code());
  } catch (const std::bad_alloc&) {
    std::fputs("error: out of memory\nhint: use a smaller model or batch, or a machine with more memory\n", stderr);
    return 1;
  } catch (const std::exception& error) {
    std::fputs(describe(error).c_str(), stderr);
    return 1;
  }
}

}  // namespace mobula::cli
