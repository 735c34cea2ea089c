/// The driver of a training run. It starts workers and watches them; libtorch is loaded by the workers alone.
#include "mobula/cli/train.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string_view>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/log.hpp"
#include "mobula/cli/commands.hpp"
#include "mobula/cli/plugin.hpp"
#include "mobula/core/runtime.hpp"
#include "mobula/track/plot.hpp"
#include "mobula/track/run.hpp"
#include "mobula/train/run/run_folder.hpp"
#include "mobula/train/run/trainer.hpp"

namespace mobula::cli {
namespace {

namespace fs = std::filesystem;

/// Keeps two drivers out of one folder; the system lets go of it when the process ends, however it ends.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& folder) {
    descriptor_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor_ < 0) throw_io(folder.string(), errno);
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      ::close(descriptor_);
      throw Error(ErrorCode::already_exists, fmt::format("{}: another mobula train is at work here", folder.string()),
                  "wait for it, stop it, or choose another --out");
    }
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock() { ::close(descriptor_); }

 private:
  int descriptor_;
};

train::RunConfig read_config(const TrainOptions& options, const train::RunFolder& folder) {
  std::string file = options.config;
  if (file.empty() && options.resume && fs::exists(folder.config())) file = folder.config();
  Config text = file.empty() ? Config() : Config::from_file(file);
  for (const std::string& assignment : options.set) text.set(assignment);
  train::RunConfig config;
  text.read(config);
  if (!options.data.empty()) config.data.path = options.data;
  return config;
}

/// Refuses a run that would not be the one that was started here.
void check_same_run(const train::RunFolder& folder, const train::RunConfig& config) {
  train::RunConfig before;
  Config::from_file(folder.config()).read(before);
  const auto changes = train::forbidden_changes(before, config);
  if (changes.empty()) return;
  std::string list;
  for (const auto& change : changes) {
    list += fmt::format("{}{} was {}, is {}", list.empty() ? "" : "; ", change.key, change.before, change.after);
  }
  throw_invalid(fmt::format("{} holds another run: {}", folder.root.string(), list),
                "a resumed run may change train.steps, scaling.* and checkpoint.*; choose another --out for the rest");
}

/// Returns the result of a run that has come to its last step, or null.
Json finished_result(const train::RunFolder& folder, const train::RunConfig& config) {
  if (!fs::exists(folder.result())) return nullptr;
  const Json result = parse_json(read_file(folder.result()), folder.result().string());
  return result.value("steps", std::int64_t{0}) >= config.train.steps ? result : nullptr;
}

std::string number(const Json& value, const char* format) {
  return value.is_number() ? fmt::format(fmt::runtime(format), value.get<double>()) : "not finite";
}

void print_result(const Json& result, bool json) {
  if (json) {
    fmt::print("{}\n", to_line(result));
    return;
  }
  fmt::print("{} steps: loss {}, validation loss {} (best {})", result.at("steps").get<std::int64_t>(),
             number(result.at("loss"), "{:.4f}"), number(result.at("val_loss"), "{:.4f}"),
             number(result.at("best_val_loss"), "{:.4f}"));
  if (result.at("tokens_per_s").is_number()) {
    fmt::print(", {:.0f} tokens/s", result.at("tokens_per_s").get<double>());
  }
  fmt::print("\nbest checkpoint: {}\n", result.at("checkpoint").get<std::string>());
}

/// What every worker runs.
void run_rank(train::TrainContext& context) {
  run_in_plugin(kTorchPlugin, kTrainRankEntry, context, GlobalOptions{});
}

/// The run's record. A run is worth more than its record: where that can't be written, it goes on without.
class Record {
 public:
  Record(const train::RunFolder& folder, train::RunConfig& config) : root_(folder.root) {
    try {
      store_ = track::Store::open(track::default_store());
      run_ = store_->start_run(root_.filename().string(), root_, folder.holds_run());
      run_->log_params(config_to_list(config));
    } catch (const Error& error) {
      log_warning("the run is not recorded: {}", error.message());
      run_.reset();
    }
  }

  track::Run* run() const { return run_.get(); }

  /// Ends the record, draws the losses into loss.svg, and lists what came out of a run that finished.
  void finish(std::string_view status) const {
    if (!run_) return;
    try {
      run_->flush();
      const auto losses = store_->metric(run_->id(), "loss");
      if (!losses.empty()) {
        const std::string name = root_.filename().string();
        write_file_atomic(root_ / "loss.svg",
                          track::loss_plot({{name, losses, store_->metric(run_->id(), "val_loss")}}, name));
        run_->log_artifact("loss.svg", root_ / "loss.svg");
      }
      if (status == "finished") run_->log_artifact("best", root_ / "best");
      run_->finish(status);
    } catch (const Error& error) {
      log_warning("the run's record is not complete: {}", error.message());
    }
  }

 private:
  std::filesystem::path root_;
  std::shared_ptr<track::Store> store_;
  std::unique_ptr<track::Run> run_;
};

/// Returns a runtime on the cluster that --engine or MOBULA_ENGINE names, or null where the workers run on this machine.
std::unique_ptr<Runtime> cluster_runtime() {
  const char* engine = std::getenv("MOBULA_ENGINE");
  if (engine == nullptr || !std::string_view(engine).starts_with("ray://")) return nullptr;
  int count = 0;
  char* none[] = {nullptr};
  return std::make_unique<Runtime>(count, none);
}

int run_train(const TrainOptions& options, const GlobalOptions& globals) {
  // An absolute path: the record finds the folder again from anywhere.
  const train::RunFolder folder{options.out.empty() ? fs::path() : fs::absolute(options.out).lexically_normal()};
  train::RunConfig config = read_config(options, folder);
  if (options.print_config) {
    config.validate();
    fmt::print("{}", config_to_yaml(config));
    return 0;
  }
  if (options.out.empty()) throw_invalid("--out is missing", "name the run's folder: --out runs/first");
  config.validate();
  if (folder.holds_run() && !options.resume) {
    throw_invalid(fmt::format("{} holds a run", options.out), "add --resume to go on with it, or choose another --out");
  }
  fs::create_directories(folder.root);
  const FolderLock lock(folder.root);
  if (folder.holds_run()) {
    check_same_run(folder, config);
    if (const Json result = finished_result(folder, config); !result.is_null()) {
      print_result(result, globals.json);
      return 0;
    }
  }

  const Record record(folder, config);
  std::vector<std::pair<std::string, std::string>> environment;
  if (globals.quiet) environment.emplace_back("MOBULA_LOG_LEVEL", "warning");
  try {
    const std::unique_ptr<Runtime> runtime = cluster_runtime();
    Json result = train::Trainer(run_rank, config.scaling,
                                 {.directory = folder.root,
                                  .argument = config_to_yaml(config),
                                  .steps = config.train.steps,
                                  .runtime = runtime.get(),
                                  .tracker = record.run(),
                                  .environment = environment})
                      .fit();
    write_file_atomic(folder.result(), to_line(result) + "\n");
    record.finish("finished");
    print_result(result, globals.json);
    return 0;
  } catch (const Error& error) {
    record.finish(error.code() == ErrorCode::interrupted ? "killed" : "failed");
    throw;
  }
}

}  // namespace

void add_train_command(CommandLine& line) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App& command =
      line.add(nullptr, "train", "Train a language model on a text, over worker processes that may die",
               "  mobula train --config recipes/shakespeare-char.yaml --out runs/shakespeare\n"
               "  mobula train --data my.txt --out runs/mine --set train.steps=500 --set scaling.workers=2\n"
               "  mobula train --out runs/mine --resume --set train.steps=1000\n"
               "  mobula train --config recipes/shakespeare-char.yaml --out runs/there --engine ray://head:6379\n"
               "  mobula train --config recipes/shakespeare-char.yaml --print-config",
               [&line, options] { return run_train(*options, line.globals()); });
  command.add_option("--config", options->config, "YAML file (with --resume: default is the run's own)");
  command.add_option("--set", options->set, "Override a key of the file: section.key=value; may be repeated");
  command.add_option("--data", options->data, "Text to train on (data.path; default: tiny Shakespeare)");
  command.add_option("--out", options->out, "Folder of the run");
  command.add_flag("--resume", options->resume, "Go on with the run that the folder holds, or start one");
  command.add_flag("--print-config", options->print_config, "Print all keys with their values and meaning, and exit");
}

}  // namespace mobula::cli
