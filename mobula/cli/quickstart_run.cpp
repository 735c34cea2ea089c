/// The main job end to end, each stage a command that a user could type: data, train, kill and resume, generate, serve.
#include "mobula/cli/quickstart.hpp"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/size.hpp"
#include "mobula/base/subprocess.hpp"
#include "mobula/cli/command_line.hpp"
#include "mobula/cli/event_stream.hpp"
#include "mobula/data/tokens/training_text.hpp"

namespace mobula::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{20};

std::atomic<bool> interrupted{false};

/// Returns how the user can call this program from here: its name where PATH finds it, else its path.
std::string program_name() {
  const fs::path program = program_path();
  std::istringstream folders(std::getenv("PATH") == nullptr ? "" : std::getenv("PATH"));
  for (std::string folder; std::getline(folders, folder, ':');) {
    std::error_code missing;
    if (fs::equivalent(fs::path(folder) / program.filename(), program, missing)) return program.filename().string();
  }
  const fs::path near = fs::proximate(program);
  return near.string().size() < program.string().size() ? near.string() : program.string();
}

/// The numbered lines and short reports that the user reads; silent with --json, where only the last line counts.
class Story {
 public:
  explicit Story(bool silent) : silent_(silent), program_(program_name()) {}
  const std::string& program() const { return program_; }
  void stage(const std::string& title) { say(fmt::format("\n[{}/5] {}", ++stage_, title)); }
  void say(const std::string& text) const {
    if (silent_) return;
    fmt::print("{}\n", text);
    std::fflush(stdout);
  }
  void piece(std::string_view text) const {
    if (silent_) return;
    fmt::print("{}", text);
    std::fflush(stdout);
  }
  void command(const std::vector<std::string>& arguments) const {
    std::string text = "$ " + program_;
    for (size_t i = 1; i < arguments.size(); ++i) {
      const bool quote = arguments[i].find_first_of(" \n'") != std::string::npos;
      text += quote ? fmt::format(" '{}'", arguments[i]) : " " + arguments[i];
    }
    say(text);
  }

 private:
  bool silent_;
  std::string program_;
  int stage_ = 0;
};

fs::path choose_folder(const std::string& given) {
  if (!given.empty()) return given;
  const fs::path base = "runs/quickstart";
  if (!fs::exists(base)) return base;
  for (int number = 2;; ++number) {
    fs::path candidate = fmt::format("{}-{}", base.string(), number);
    if (!fs::exists(candidate)) return candidate;
  }
}

/// The recipe: nanoGPT's small CPU setting, over the steps that fit the quickstart's time.
std::string recipe(const QuickstartOptions& options, const fs::path& text) {
  const std::int64_t every = std::max<std::int64_t>(1, options.steps / 8);
  return fmt::format(
      "# Written by mobula quickstart; train again with: mobula train --config FILE --out FOLDER\n"
      "data: {{path: {}}}\n"
      "model: {{family: gpt2, layers: 4, heads: 4, hidden: 128}}\n"
      "tokenizer: {{kind: char}}\n"
      "train: {{steps: {}, batch_size: 12, context: 64, lr: 1e-3, min_lr: 1e-4, warmup: {}, beta2: 0.99, "
      "weight_decay: 0.1, grad_clip: 1.0, dropout: 0.0, seed: 1337, eval_every: {}}}\n"
      "scaling: {{workers: {}}}\n"
      "checkpoint: {{every: {}, keep: 2}}\n",
      Json(fs::absolute(text).string()).dump(), options.steps, std::min<std::int64_t>(100, options.steps / 10), every,
      options.workers, std::max<std::int64_t>(1, every / 3));
}

/// Follows a file that another process appends lines to.
class LineFollower {
 public:
  explicit LineFollower(fs::path path) : path_(std::move(path)) {}

  /// Calls `use` with each whole line that came since the last call. A file that got shorter (a run that went back to a
  /// checkpoint) is followed from its new end.
  template <class Use>
  void poll(Use&& use) {
    std::error_code missing;
    const std::uintmax_t size = fs::file_size(path_, missing);
    if (missing) return;
    if (size < position_) {
      position_ = size;
      return;
    }
    std::ifstream file(path_);
    file.seekg(static_cast<std::streamoff>(position_));
    std::string line;
    while (std::getline(file, line) && !file.eof()) {
      position_ += line.size() + 1;
      use(line);
    }
  }

 private:
  fs::path path_;
  std::uintmax_t position_ = 0;
};

pid_t read_worker_pid(const fs::path& out, int rank) {
  const Json workers = parse_json(read_file(out / "workers.json"), (out / "workers.json").string());
  for (const Json& worker : workers) {
    if (worker.at("rank").get<int>() == rank) return worker.at("pid").get<pid_t>();
  }
  throw_internal(fmt::format("{} names no rank {}", (out / "workers.json").string(), rank));
}

void stop_if_interrupted() {
  if (interrupted) throw Error(ErrorCode::cancelled, "stopped by the user");
}

struct TrainingReport {
  Json result;
  std::optional<double> kill_to_next_step_s;
};

/// Watches a training run: shows how the loss falls, kills a worker in the middle and times the resumption.
TrainingReport train(const QuickstartOptions& options, const fs::path& out, const fs::path& config, bool quiet,
                     Story& story) {
  std::vector<std::string> arguments = {program_path(), "train", "--config", config.string(), "--out", out.string()};
  story.command(arguments);
  arguments.insert(arguments.end(), {"--json", "--quiet"});
  const auto start = Clock::now();
  Subprocess training(arguments, {.capture_stdout = true});
  LineFollower metrics(out / "metrics.jsonl");
  TrainingReport report;
  std::optional<Clock::time_point> killed;
  const std::int64_t kill_at = options.steps / 2;
  const std::int64_t show_every = std::max<std::int64_t>(1, options.steps / 8);
  std::optional<int> code;
  while (!code) {
    code = training.wait_for(kPoll);
    if (interrupted) {
      training.signal(SIGTERM);
      training.wait();
      throw Error(ErrorCode::cancelled, "stopped by the user",
                  fmt::format("go on with: mobula train --config {} --out {} --resume", config.string(), out.string()));
    }
    metrics.poll([&](const std::string& text) {
      const Json line = parse_json(text, (out / "metrics.jsonl").string());
      const auto step = line.at("step").get<std::int64_t>();
      if (line.contains("val_loss")) {
        if (!quiet)
          story.say(fmt::format("  step {:>5}  validation loss {:.4f}", step, line.at("val_loss").get<double>()));
        return;
      }
      if (killed && !report.kill_to_next_step_s) {
        report.kill_to_next_step_s = std::chrono::duration<double>(Clock::now() - *killed).count();
        story.say(fmt::format("  resumed: step {} came {:.2f} s after the kill", step, *report.kill_to_next_step_s));
      }
      if (!quiet && (step == 1 || step % show_every == 0)) {
        story.say(fmt::format("  step {:>5}  loss {:.4f}  {:.0f} tokens/s", step, line.at("loss").get<double>(),
                              line.at("tokens_per_s").get<double>()));
      }
      if (!options.no_kill && !killed && step >= kill_at) {
        const int rank = options.workers - 1;
        const pid_t pid = read_worker_pid(out, rank);
        story.stage("A worker is killed; the run must go on from its last checkpoint");
        story.say(fmt::format("$ kill -9 {}    # rank {}, at step {}", pid, rank, step));
        killed = Clock::now();
        ::kill(pid, SIGKILL);
      }
    });
  }
  if (*code != 0) {
    throw Error(ErrorCode::task_failed, fmt::format("training ended with exit code {}", *code),
                "its messages stand above");
  }
  std::string last;
  while (auto line = training.read_line()) last = *line;
  report.result = parse_json(last, "the last line of mobula train");
  story.say(fmt::format("  trained {} steps in {}: loss {:.4f}, best validation loss {:.4f}, {} restart{}",
                        report.result.at("steps").get<std::int64_t>(), format_duration(Clock::now() - start),
                        report.result.at("loss").get<double>(), report.result.at("best_val_loss").get<double>(),
                        report.result.at("restarts").get<int>(),
                        report.result.at("restarts").get<int>() == 1 ? "" : "s"));
  return report;
}

/// Answers a small batch of prompts from the best checkpoint; returns the JSON lines.
std::vector<Json> generate(const fs::path& out, Story& story) {
  const fs::path prompts = out / "prompts.jsonl";
  const fs::path answers = out / "answers.jsonl";
  std::string lines;
  for (const char* prompt : {"ROMEO:\n", "First Citizen:\nWe ", "O, what a "})
    lines += to_line({{"prompt", prompt}}) + "\n";
  write_file_atomic(prompts, lines);
  const std::vector<std::string> arguments = {
      program_path(),   "generate",     "--model", (out / "best").string(), "--input", prompts.string(), "--output",
      answers.string(), "--max-tokens", "44",      "--temperature",         "0.8",     "--seed",         "7"};
  story.command(arguments);
  Subprocess child(arguments, {.capture_stdout = true, .environment = {{"MOBULA_LOG_LEVEL", "warning"}}});
  while (child.read_line()) stop_if_interrupted();
  if (const int code = child.wait(); code != 0) {
    throw Error(ErrorCode::task_failed, fmt::format("generating ended with exit code {}", code),
                "its messages stand above");
  }
  std::vector<Json> results;
  std::ifstream file(answers);
  for (std::string line; std::getline(file, line);) {
    results.push_back(parse_json(line, answers.string()));
    const Json& answer = results.back();
    story.say(fmt::format("  --- {}\n{}{}", to_line(answer.at("prompt")), answer.at("prompt").get<std::string>(),
                          answer.at("text").get<std::string>()));
  }
  return results;
}

struct ServingReport {
  std::string url;
  std::string answer;
};

/// Starts the server, streams one chat answer from it, and stops it (or leaves it up until Ctrl-C).
ServingReport serve(const QuickstartOptions& options, const fs::path& out, Story& story) {
  const std::vector<std::string> arguments = {
      program_path(), "serve",     "--model", (out / "best").string(), "--port", std::to_string(options.port),
      "--name",       "quickstart"};
  story.command(arguments);
  Subprocess server(arguments, {.capture_stdout = true});
  ServingReport report;
  constexpr std::string_view kReady = "listening on ";
  while (auto line = server.read_line()) {
    if (line->rfind(kReady, 0) == 0) {
      report.url = line->substr(kReady.size());
      break;
    }
  }
  if (report.url.empty()) {
    throw Error(ErrorCode::task_failed, fmt::format("the server ended with exit code {}", server.wait()),
                "its messages stand above");
  }
  story.say(fmt::format("  listening on {}", report.url));
  const size_t colon = report.url.rfind(':');
  const auto port = static_cast<std::uint16_t>(std::stoi(report.url.substr(colon + 1)));
  const Json body = {{"model", "quickstart"},
                     {"messages", Json::array({{{"role", "user"}, {"content", "KING RICHARD III:\n"}}})},
                     {"max_tokens", 40},
                     {"temperature", 0.8},
                     {"seed", 7},
                     {"stream", true}};
  story.say(fmt::format("$ curl -N {}/v1/chat/completions -H 'content-type: application/json' -d '{}'", report.url,
                        to_line(body)));
  post_event_stream("127.0.0.1", port, "/v1/chat/completions", body, [&](std::string_view data) {
    if (interrupted || data == "[DONE]") return false;
    const Json chunk = parse_json(data, "the server's event");
    for (const Json& choice : chunk.at("choices")) {
      if (const auto& delta = choice.at("delta"); delta.contains("content") && delta.at("content").is_string()) {
        const auto text = delta.at("content").get<std::string>();
        report.answer += text;
        story.piece(text);
      }
    }
    return true;
  });
  story.say("");
  stop_if_interrupted();
  if (options.serve) {
    story.say(fmt::format("  the server stays up at {}; Ctrl-C stops it", report.url));
    while (!interrupted && !server.wait_for(kPoll)) {
    }
  }
  server.signal(SIGTERM);
  if (const int code = server.wait(); code != 0 && !interrupted) {
    throw Error(ErrorCode::task_failed, fmt::format("the server ended with exit code {}", code),
                "its messages stand above");
  }
  return report;
}

int quickstart(const QuickstartOptions& options, const GlobalOptions& globals) {
  if (options.workers < 1) {
    throw_invalid(fmt::format("--workers is {}, expected at least 1", options.workers), "one worker is one process");
  }
  if (options.steps < 20) {
    throw_invalid(fmt::format("--steps is {}, expected at least 20", options.steps), "the kill comes in the middle");
  }
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = true; };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);

  const auto start = Clock::now();
  Story story(globals.json);
  const fs::path text = data::find_training_text(options.data);
  const fs::path out = choose_folder(options.out);
  if (fs::exists(out) && !fs::is_empty(out)) {
    throw Error(ErrorCode::already_exists, fmt::format("{} is not empty", out.string()),
                "choose another folder with --out");
  }
  const fs::path config = out.string() + ".yaml";

  story.stage(fmt::format("The text: {} ({})", text.string(), format_size(fs::file_size(text))));
  write_file_atomic(config, recipe(options, text));
  story.say(fmt::format("  the recipe lies in {}", config.string()));

  story.stage(
      fmt::format("Training a small GPT over {} worker process{}", options.workers, options.workers == 1 ? "" : "es"));
  const TrainingReport training = train(options, out, config, globals.quiet, story);
  if (options.no_kill) story.stage("No worker is killed (--no-kill)");
  stop_if_interrupted();

  story.stage("Answers from the best checkpoint");
  const std::vector<Json> answers = generate(out, story);
  stop_if_interrupted();

  story.stage("A streamed answer over HTTP");
  const ServingReport serving = serve(options, out, story);

  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (globals.json) {
    Json line = {{"out", out.string()}, {"train", training.result}};
    line["kill_to_next_step_s"] = training.kill_to_next_step_s ? Json(*training.kill_to_next_step_s) : Json(nullptr);
    line["answers"] = answers;
    line["streamed"] = serving.answer;
    line["seconds"] = seconds;
    fmt::print("{}\n", to_line(line));
  }
  story.say(
      fmt::format("\nDone in {time}. What is where:\n"
                  "  {out}/metrics.jsonl   a line a step; {out}/loss.svg shows them\n"
                  "  {out}/events.jsonl    what happened to the workers, and why\n"
                  "  {out}/best            a Hugging Face checkpoint\n"
                  "Next:\n"
                  "  {program} generate --model {out}/best --prompt 'JULIET:'\n"
                  "  {program} serve --model {out}/best --port 8080\n"
                  "  {program} runs list",
                  fmt::arg("time", format_duration(Clock::now() - start)), fmt::arg("out", out.string()),
                  fmt::arg("program", story.program())));
  return 0;
}

}  // namespace
}  // namespace mobula::cli

extern "C" int mobula_run_quickstart(const void* options, const void* globals) {
  return mobula::cli::quickstart(*static_cast<const mobula::cli::QuickstartOptions*>(options),
                                 *static_cast<const mobula::cli::GlobalOptions*>(globals));
}
