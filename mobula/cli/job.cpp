#include "mobula/cli/job.hpp"

#include <memory>

#include "mobula/cli/commands.hpp"
#include "mobula/cli/plugin.hpp"

namespace mobula::cli {
namespace {

void add_address(CLI::App& command, JobOptions& options) {
  command.add_option("--address", options.address,
                     "Head's dashboard, http://HOST:8265 [$RAY_API_SERVER_ADDRESS, $RAY_ADDRESS]");
}

void add_submit(CommandLine& line, CLI::App& group) {
  auto options = std::make_shared<JobSubmitOptions>();
  CLI::App& command = line.add(
      &group, "submit", "Run a program on a cluster, and show what it prints until it ends",
      "  mobula job submit --address http://head:8265 -- /opt/mobula/bin/pi --samples 1e9\n"
      "  mobula job submit --working-dir build/bin/examples -- ./monte_carlo_pi\n"
      "  mobula job submit --env HF_HOME=/data/hf --no-wait -- mobula train --config run.yaml --out /data/run\n"
      "  mobula job submit --runtime-env env.yaml --entrypoint-num-gpus 1 -- sh -c './prepare && ./train'",
      [&line, options] {
        const GlobalOptions& globals = line.globals();
        // A Mobula program finds the cluster that it was sent to by itself.
        options->runtime = {{"MOBULA_ENGINE", globals.engine.empty() ? "ray://auto" : globals.engine},
                            {"MOBULA_ISOLATION", globals.isolation},
                            {"MOBULA_NUM_CPUS", globals.num_cpus},
                            {"MOBULA_MEMORY", globals.memory},
                            {"MOBULA_SPILL_DIR", globals.spill_dir},
                            {"MOBULA_SPILL_QUOTA", globals.spill_quota},
                            {"MOBULA_TIMELINE", globals.timeline},
                            {"MOBULA_METRICS_PORT", globals.metrics_port}};
        return run_in_plugin(kJobPlugin, "mobula_run_job_submit", *options, globals);
      });
  add_address(command, options->job);
  command.add_option("program", options->program, "Program and its arguments, behind --")->required();
  command.add_option("--working-dir", options->working_directory,
                     "Folder (or .zip) that is sent along and is the program's working directory; or its URI");
  command.add_option("--exclude", options->exclude, "Pattern of files of --working-dir to leave out; may be repeated")
      ->allow_extra_args(false);
  command.add_option("--runtime-env", options->runtime_environment,
                     "Ray's runtime environment: a YAML file, or JSON text");
  command.add_option("--env", options->variables, "NAME=VALUE for the program and its workers; may be repeated")
      ->allow_extra_args(false);
  command.add_option("--submission-id", options->submission_id, "Id of the job (default: made by the cluster)");
  command.add_option("--metadata", options->metadata, "KEY=VALUE kept with the job, or a JSON object; may be repeated")
      ->allow_extra_args(false);
  command.add_option("--entrypoint-num-cpus", options->num_cpus, "Processors for the program itself");
  command.add_option("--entrypoint-num-gpus", options->num_gpus, "GPUs for the program itself");
  command.add_option("--entrypoint-memory", options->memory, "Memory for the program itself, such as 4GB");
  command.add_option("--entrypoint-resources", options->resources, "Other resources for it, as JSON: {\"name\": 1}");
  command.add_flag("--no-wait", options->job.no_wait, "Print the job's id and return at once");
}

}  // namespace

void add_job_commands(CommandLine& line) {
  CLI::App& group = line.add_group("job", "Run programs on a Ray cluster from anywhere");
  add_submit(line, group);

  const auto add = [&](const char* name, const char* description, const char* examples, const char* entry,
                       bool with_id) {
    auto options = std::make_shared<JobOptions>();
    CLI::App& command = line.add(&group, name, description, examples, [&line, options, entry] {
      return run_in_plugin(kJobPlugin, entry, *options, line.globals());
    });
    add_address(command, *options);
    if (with_id) command.add_option("id", options->id, "The job")->required();
    return std::pair<CLI::App*, std::shared_ptr<JobOptions>>(&command, options);
  };
  add("status", "Say how a job is doing", "  mobula job status raysubmit_x7 --address http://head:8265",
      "mobula_run_job_status", true);
  const auto logs =
      add("logs", "Print what a job's program has printed",
          "  mobula job logs raysubmit_x7\n  mobula job logs raysubmit_x7 --follow", "mobula_run_job_logs", true);
  logs.first->add_flag("--follow", logs.second->follow, "Go on until the job ends; the exit code is then the job's");
  const auto stop = add("stop", "End a job's program and all that it runs on the cluster",
                        "  mobula job stop raysubmit_x7", "mobula_run_job_stop", true);
  stop.first->add_flag("--no-wait", stop.second->no_wait, "Return before it has ended");
  add("list", "List a cluster's jobs", "  mobula job list --address http://head:8265\n  mobula job list --json",
      "mobula_run_job_list", false);
}

}  // namespace mobula::cli
