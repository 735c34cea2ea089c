/// The loss over a whole split, shared among workers.
#pragma once

#include "mobula/data/tokens/token_windows.hpp"
#include "mobula/nn/causal_lm.hpp"
#include "mobula/train/collective/communicator.hpp"

namespace mobula::train {

/// Returns the mean negative log-likelihood of every token of the split but the first, each seen once, in windows that
/// don't overlap. Batches of `batch_size` windows go to the workers in turn and are added up in their order: the result
/// does not depend on who computed what. All ranks call it and get the same number; the model's mode is restored.
double evaluate(nn::CausalLm& model, const data::TokenWindows& split, std::int64_t batch_size, Communicator& ranks);

}  // namespace mobula::train
