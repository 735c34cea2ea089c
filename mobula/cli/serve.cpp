#include "mobula/cli/serve.hpp"

#include <memory>

#include "mobula/cli/commands.hpp"
#include "mobula/cli/plugin.hpp"

namespace mobula::cli {

void add_serve_command(CommandLine& line) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App& command = line.add(
      nullptr, "serve", "Serve a language model over HTTP, as OpenAI's API does",
      "  mobula serve --model runs/quickstart/best\n"
      "  mobula serve --model DIR --host 0.0.0.0 --port 8080 --name tiny --api-key-file key.txt\n"
      "  mobula serve --model DIR --adapter poet=adapters/poet --adapter adapters/clerk\n"
      "  curl localhost:8000/v1/completions -d '{\"model\": \"best\", \"prompt\": \"To be\"}'",
      [&line, options] { return run_in_plugin(kGeneratePlugin, "mobula_run_serve", *options, line.globals()); });
  command.add_option("--model", options->model, "Folder of a checkpoint")->required();
  command.add_option("--host", options->host, "Address to listen on; 0.0.0.0 for all")->capture_default_str();
  command.add_option("--port", options->port, "Port to listen on; 0 picks a free one")->capture_default_str();
  command.add_option("--name", options->name, "The model's id for clients [the folder's name]");
  command.add_option("--api-key-file", options->api_key_file,
                     "File with the key that clients must send [$MOBULA_API_KEY]");
  command.add_option("--max-concurrent", options->max_concurrent, "Requests that run at once; others wait")
      ->capture_default_str();
  command.add_option("--max-queue", options->max_queue, "Requests running and waiting; others get 503")
      ->capture_default_str();
  command.add_option("--cache", options->cache, "Memory for keys and values")->capture_default_str();
  command
      .add_option(
          "--adapter", options->adapters,
          "Adapter in PEFT's format, NAME=DIR or DIR, which requests take by its name as their model; may be given "
          "several times")
      ->allow_extra_args(false);
  command.add_option("--dtype", options->dtype, "fp32, bf16, int8 or int4 (default: the checkpoint's)");
  command
      .add_option(
          "--generation-config", options->generation_config,
          "Sampling of requests that don't say it: auto (the checkpoint's generation_config.json), none, a folder "
          "or file")
      ->capture_default_str();
  command.add_option("--http-threads", options->http_threads, "Threads for connections [one a processor, at most 4]");
  command.add_option("--drain-timeout", options->drain_timeout, "How long requests may still run after SIGTERM")
      ->capture_default_str();
}

}  // namespace mobula::cli
