/// Shell completion. The scripts ask the program itself (`mobula __complete WORDS...`), so they never go
/// stale.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/cli/commands.hpp"

namespace mobula::cli {
namespace {

constexpr const char* kBash = R"(_mobula() {
  local cur=${COMP_WORDS[COMP_CWORD]} answers
  answers=$(mobula __complete -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)
  COMPREPLY=($(compgen -W "$answers" -- "$cur"))
  [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$cur"))
}
complete -o filenames -F _mobula mobula
)";

constexpr const char* kZsh = R"zsh(#compdef mobula
_mobula() {
  local -a answers
  answers=(${(f)"$(mobula __complete -- "${words[@]:1:$((CURRENT-2))}" 2>/dev/null)"})
  compadd -a answers
  _files
}
compdef _mobula mobula
)zsh";

constexpr const char* kFish =
    "complete -c mobula -a '(set -l words (commandline -opc); mobula __complete -- $words[2..-1] "
    "2>/dev/null)'\n";

/// Prints what may follow `words`: the commands and options of the command they lead to.
void print_answers(const CLI::App& root, const std::vector<std::string>& words) {
  const CLI::App* command = &root;
  for (const std::string& word : words) {
    for (const CLI::App* child : command->get_subcommands({})) {
      if (child->get_name() == word) {
        command = child;
        break;
      }
    }
  }
  for (const CLI::App* child : command->get_subcommands({})) {
    if (child->get_name().rfind("__", 0) != 0) fmt::print("{}\n", child->get_name());
  }
  for (const CLI::Option* option : command->get_options()) {
    for (const std::string& name : option->get_lnames()) fmt::print("--{}\n", name);
  }
}

}  // namespace

void add_completion_command(CommandLine& line) {
  auto shell = std::make_shared<std::string>();
  CLI::App& completion = line.add(nullptr, "completion", "Print the completion script of a shell",
                                  "  mobula completion bash > ~/.local/share/bash-completion/completions/mobula\n"
                                  "  mobula completion zsh > ~/.zsh/completions/_mobula\n"
                                  "  mobula completion fish > ~/.config/fish/completions/mobula.fish",
                                  [shell] {
                                    const bool bash = *shell == "bash";
                                    std::fputs(bash ? kBash : (*shell == "zsh" ? kZsh : kFish), stdout);
                                    return 0;
                                  });
  completion.add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));

  auto words = std::make_shared<std::vector<std::string>>();
  CLI::App& complete = line.add(nullptr, "__complete", "Answer a completion script", "", [&line, words] {
    print_answers(line.root(), *words);
    return 0;
  });
  complete.group("");
  complete.add_option("words", *words);
}

}  // namespace mobula::cli
