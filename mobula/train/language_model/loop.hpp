/// The training loop of language models: what `mobula train` runs on every worker.
///
///     for step in 1..steps:
///       for each micro-batch of this worker: forward, backward       gradients are summed over workers as they come
///       clip the gradient, AdamW                                     or skip the step where it is not finite
///       metrics.jsonl: a line
///       every eval_every: the whole validation split                 metrics.jsonl: a line; best?
///       every checkpoint.every, when best, and at the end: a checkpoint, written by a thread of its own
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "mobula/data/tokens/token_windows.hpp"
#include "mobula/nn/causal_lm.hpp"
#include "mobula/train/checkpoint/checkpoint_writer.hpp"
#include "mobula/train/run/config.hpp"
#include "mobula/train/run/context.hpp"

namespace mobula::train {

/// What the loop works on. The same on every worker.
struct LanguageModelJob {
  LoopConfig loop;
  CheckpointConfig checkpoint;
  nn::CausalLm& model;  ///< fresh, or with the weights that a new run starts from
  const data::TokenWindows& training;
  const data::TokenWindows& validation;
  ModelWriter write_model;  ///< called on rank 0 alone
};

/// Trains to the end, to a request to stop, or throws. Goes on from the newest whole checkpoint of the run's folder where
/// there is one: with the same number of workers and threads, every number that follows is the one that an uninterrupted
/// run gives, bit for bit. Rank 0 sets the context's result: steps, loss, val_loss, best_val_loss, tokens_per_s,
/// checkpoint.
void train_language_model(TrainContext& context, const LanguageModelJob& job);

}  // namespace mobula::train
