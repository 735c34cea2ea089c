#include "mobula/train/run/config.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"

namespace mobula::train {
namespace {

void require(bool holds, std::string_view key, const auto& value, std::string_view expected, std::string hint = {}) {
  if (!holds) throw_invalid(fmt::format("{} is {}, expected {}", key, value, expected), std::move(hint));
}

void require_one_of(std::string_view key, const std::string& value, const std::vector<std::string>& allowed) {
  for (const std::string& name : allowed) {
    if (value == name) return;
  }
  throw_invalid(fmt::format("{} is '{}', expected one of {}", key, value, fmt::join(allowed, ", ")),
                suggest(value, allowed));
}

}  // namespace

void DataConfig::visit(ConfigVisitor& visitor) {
  visitor.field("path", path, "the text to train on; empty: tiny Shakespeare");
  visitor.field("format", format, "text, jsonl, csv or parquet; empty: by the file's extension");
  visitor.field("column", column, "the field that holds the text in jsonl, csv and parquet");
  visitor.field("validation", validation, "share of the tokens, at the end, that is kept for validation");
}

void DataConfig::validate() const {
  if (!format.empty()) require_one_of("data.format", format, {"text", "jsonl", "csv", "parquet"});
  require(validation > 0 && validation < 1, "data.validation", validation, "a share between 0 and 1");
}

void ModelConfig::visit(ConfigVisitor& visitor) {
  visitor.field("family", family, "architecture, as Hugging Face's model_type");
  visitor.field("from", from, "checkpoint folder to start from; empty: random weights of the sizes below");
  visitor.field("layers", layers, "transformer blocks");
  visitor.field("heads", heads, "attention heads");
  visitor.field("hidden", hidden, "width");
}

void ModelConfig::validate() const {
  require(!family.empty(), "model.family", "empty", "a family such as gpt2");
  require(layers >= 1 && layers <= 1000, "model.layers", layers, "1 to 1000");
  require(heads >= 1 && heads <= 1024, "model.heads", heads, "1 to 1024");
  require(hidden >= 1 && hidden <= 65536, "model.hidden", hidden, "1 to 65536");
  require(hidden % heads == 0, "model.hidden", hidden, fmt::format("a multiple of model.heads ({})", heads));
}

void TokenizerConfig::visit(ConfigVisitor& visitor) {
  visitor.field("kind", kind, "byte, char (the characters of the text) or bpe (byte-level, trained on the text)");
  visitor.field("path", path, "tokenizer.json, or a folder that holds one, instead of a new tokenizer");
  visitor.field("vocab_size", vocab_size, "ids of a bpe tokenizer that is trained on the text");
}

void TokenizerConfig::validate() const {
  require_one_of("tokenizer.kind", kind, {"byte", "char", "bpe"});
  require(vocab_size >= 257 && vocab_size <= (1 << 24), "tokenizer.vocab_size", vocab_size, "257 to 16777216");
}

void LoopConfig::visit(ConfigVisitor& visitor) {
  visitor.field("steps", steps, "optimizer steps");
  visitor.field("batch_size", batch_size, "sequences a step, over all workers");
  visitor.field("micro_batch", micro_batch, "sequences in a worker's forward; 0: its whole share");
  visitor.field("context", context, "tokens a sequence");
  visitor.field("lr", lr, "peak learning rate");
  visitor.field("min_lr", min_lr, "learning rate at the end of the cosine");
  visitor.field("warmup", warmup, "steps of linear warm-up");
  visitor.field("decay_steps", decay_steps, "step at which the cosine ends; 0: train.steps");
  visitor.field("weight_decay", weight_decay, "decay of matrices (AdamW); vectors are not decayed");
  visitor.field("beta1", beta1, "decay of the mean of gradients");
  visitor.field("beta2", beta2, "decay of the mean of squared gradients");
  visitor.field("epsilon", epsilon, "added to the root of the mean of squared gradients");
  visitor.field("grad_clip", grad_clip, "largest norm of the whole gradient; 0: no clipping");
  visitor.field("dropout", dropout, "share of activations dropped while training");
  visitor.field("seed", seed, "of weights, data order and dropout");
  visitor.field("precision", precision, "fp32 or bf16 (parameters and optimizer stay in fp32)");
  visitor.field("eval_every", eval_every, "steps between evaluations of the validation split; 0: only at the end");
}

void LoopConfig::validate() const {
  require(steps >= 1, "train.steps", steps, "at least 1");
  require(batch_size >= 1, "train.batch_size", batch_size, "at least 1");
  require(micro_batch >= 0, "train.micro_batch", micro_batch, "at least 0");
  require(context >= 1 && context <= (1 << 24), "train.context", context, "1 to 16777216");
  require(lr > 0, "train.lr", lr, "more than 0");
  require(min_lr >= 0 && min_lr <= lr, "train.min_lr", min_lr, fmt::format("0 to train.lr ({})", lr));
  require(warmup >= 0, "train.warmup", warmup, "at least 0");
  require(decay_steps >= 0, "train.decay_steps", decay_steps, "at least 0");
  require(weight_decay >= 0, "train.weight_decay", weight_decay, "at least 0");
  require(beta1 >= 0 && beta1 < 1, "train.beta1", beta1, "0 to less than 1");
  require(beta2 >= 0 && beta2 < 1, "train.beta2", beta2, "0 to less than 1");
  require(epsilon > 0, "train.epsilon", epsilon, "more than 0");
  require(grad_clip >= 0, "train.grad_clip", grad_clip, "at least 0");
  require(dropout >= 0 && dropout < 1, "train.dropout", dropout, "0 to less than 1");
  require_one_of("train.precision", precision, {"fp32", "bf16"});
  require(eval_every >= 0, "train.eval_every", eval_every, "at least 0");
}

void ScalingConfig::visit(ConfigVisitor& visitor) {
  visitor.field("workers", workers, "processes that share every step's batch");
  visitor.choice("strategy", strategy, {{"ddp", Strategy::ddp}}, "what the workers share");
  visitor.field("threads", threads, "of each worker; 0: the machine's cores divided among the workers");
  visitor.field("max_restarts", max_restarts, "how often dead workers are replaced without a new step in between");
}

void ScalingConfig::validate() const {
  require(workers >= 1 && workers <= 1024, "scaling.workers", workers, "1 to 1024");
  require(threads >= 0 && threads <= 1024, "scaling.threads", threads, "0 to 1024");
  require(max_restarts >= 0, "scaling.max_restarts", max_restarts, "at least 0");
}

void CheckpointConfig::visit(ConfigVisitor& visitor) {
  visitor.field("every", every, "steps between checkpoints; 0: only after the last step");
  visitor.field("keep", keep, "how many of the newest are kept, beside the best");
}

void CheckpointConfig::validate() const {
  require(every >= 0, "checkpoint.every", every, "at least 0");
  require(keep >= 1, "checkpoint.keep", keep, "at least 1");
}

void RunConfig::visit(ConfigVisitor& visitor) {
  visitor.section("data", data, "the text");
  visitor.section("model", model, "the model");
  visitor.section("tokenizer", tokenizer, "text to ids");
  visitor.section("train", train, "the loop");
  visitor.section("scaling", scaling, "the workers");
  visitor.section("checkpoint", checkpoint, "what is kept of the run");
}

void RunConfig::validate() const {
  data.validate();
  model.validate();
  tokenizer.validate();
  train.validate();
  scaling.validate();
  checkpoint.validate();
  require(train.batch_size >= scaling.workers, "train.batch_size", train.batch_size,
          fmt::format("at least one sequence for each of the {} workers", scaling.workers),
          "use fewer workers or a larger batch");
}

std::vector<ConfigChange> forbidden_changes(const RunConfig& before, const RunConfig& after) {
  RunConfig old_config = before;
  RunConfig new_config = after;
  const auto old_values = config_to_list(old_config);
  const auto new_values = config_to_list(new_config);
  std::vector<ConfigChange> changes;
  for (std::size_t i = 0; i < old_values.size(); ++i) {
    const auto& [key, value] = old_values[i];
    if (key == "train.steps" || key.starts_with("scaling.") || key.starts_with("checkpoint.")) continue;
    if (value != new_values[i].second) changes.push_back({key, value, new_values[i].second});
  }
  return changes;
}

}  // namespace mobula::train
