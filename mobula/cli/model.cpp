#include "mobula/cli/model.hpp"

#include <memory>

#include "mobula/cli/commands.hpp"
#include "mobula/cli/plugin.hpp"

namespace mobula::cli {
namespace {

constexpr const char* kSource = "Folder of a checkpoint, or a file: .safetensors, .bin, .pt, .gguf";

CLI::App& add_writer(CommandLine& line, CLI::App& group, const std::shared_ptr<ModelWriteOptions>& options,
                     const char* name, const char* description, const char* examples) {
  CLI::App& command = line.add(&group, name, description, examples, [&line, options] {
    return run_in_plugin(kTorchPlugin, "mobula_run_model_write", *options, line.globals());
  });
  command.add_option("--shard-size", options->shard_size, "Largest file, such as 2GB")->capture_default_str();
  return command;
}

void add_info(CommandLine& line, CLI::App& group) {
  auto options = std::make_shared<ModelInfoOptions>();
  CLI::App& command = line.add(
      &group, "info", "Say what a checkpoint holds",
      "  mobula model info runs/quickstart/best\n"
      "  mobula model info model.gguf --tensors",
      [&line, options] { return run_in_plugin(kTorchPlugin, "mobula_run_model_info", *options, line.globals()); });
  command.add_option("model", options->path, kSource)->required();
  command.add_flag("--tensors", options->tensors, "List every tensor");
}

void add_convert(CommandLine& line, CLI::App& group) {
  auto options = std::make_shared<ModelWriteOptions>();
  options->models.resize(1);
  CLI::App& command =
      add_writer(line, group, options, "convert", "Write a checkpoint as safetensors in Hugging Face's layout",
                 "  mobula model convert pytorch-folder out\n"
                 "  mobula model convert model.gguf out --dtype bf16");
  command.add_option("model", options->models[0], kSource)->required();
  command.add_option("out", options->out, "Folder to write")->required();
  command.add_option("--dtype", options->dtype, "fp32, fp16 or bf16 (default: as it is)");
}

void add_quantize(CommandLine& line, CLI::App& group) {
  auto options = std::make_shared<ModelQuantizeOptions>();
  CLI::App& command = line.add(
      &group, "quantize", "Write a language model with its matrices in 8 or 4 bits",
      "  mobula model quantize DIR out --dtype int8\n"
      "  mobula model quantize DIR out --dtype int4      # transformers reads both with compressed-tensors\n"
      "  mobula model quantize DIR base --dtype nf4      # a base for QLoRA, as bitsandbytes writes it",
      [&line, options] { return run_in_plugin(kTorchPlugin, "mobula_run_model_quantize", *options, line.globals()); });
  command.add_option("model", options->model, "Folder of a checkpoint, or a file .gguf")->required();
  command.add_option("out", options->out, "Folder to write")->required();
  command.add_option("--dtype", options->dtype, "int8, int4 or nf4")->capture_default_str();
  command.add_option("--head", options->head, "int8 stores the head in 8 bits, too; whole leaves it as it is")
      ->capture_default_str();
  command.add_option("--shard-size", options->shard_size, "Largest file, such as 2GB")->capture_default_str();
}

void add_merge(CommandLine& line, CLI::App& group) {
  auto options = std::make_shared<ModelWriteOptions>();
  CLI::App& command = add_writer(line, group, options, "merge",
                                 "Write a model with adapters merged into it, or the weighted mean of several models",
                                 "  mobula model merge BASE --adapter DIR --out merged\n"
                                 "  mobula model merge A B --weights 0.7,0.3 --out mean");
  command.add_option("models", options->models, kSource)->required();
  command.add_option("--out", options->out, "Folder to write")->required();
  command
      .add_option("--adapter", options->adapters, "Folder of an adapter in PEFT's format; may be given several times")
      ->allow_extra_args(false);
  command.add_flag("--undo", options->undo, "Take merged adapters out again");
  command.add_option("--weights", options->weights, "One number a model, separated by commas")->delimiter(',');
  command.add_option("--dtype", options->dtype, "fp32, fp16 or bf16 (default: as it is)");
}

void add_diff(CommandLine& line, CLI::App& group) {
  auto options = std::make_shared<ModelDiffOptions>();
  CLI::App& command = line.add(
      &group, "diff", "Compare two checkpoints: configuration, names, shapes, types, numbers",
      "  mobula model diff runs/a/best runs/b/best\n"
      "  mobula model diff A B --tolerance 1e-3 --json",
      [&line, options] { return run_in_plugin(kTorchPlugin, "mobula_run_model_diff", *options, line.globals()); });
  command.add_option("a", options->a, kSource)->required();
  command.add_option("b", options->b, kSource)->required();
  command.add_option("--tolerance", options->tolerance, "Largest difference that counts as none")
      ->capture_default_str();
}

}  // namespace

void add_model_commands(CommandLine& line) {
  CLI::App& group = line.add_group("model", "Look at checkpoints, convert, quantize, merge and compare them");
  add_info(line, group);
  add_convert(line, group);
  add_quantize(line, group);
  add_merge(line, group);
  add_diff(line, group);
}

}  // namespace mobula::cli
